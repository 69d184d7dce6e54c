//! Files of the live response library.

use serde::{Deserialize, Serialize};

use super::decode::{Entity, Raw};
use super::timestamp::Timestamp;
use crate::error::{Error, Result};

/// A library file as the service describes it (page "list-library-files").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LibraryFile {
    #[serde(alias = "fileName")]
    pub file_name: String,
    pub sha256: Option<String>,
    pub description: Option<String>,
    #[serde(alias = "creationTime")]
    pub creation_time: Option<Timestamp>,
    #[serde(alias = "lastUpdatedTime")]
    pub last_updated_time: Option<Timestamp>,
    #[serde(alias = "createdBy")]
    pub created_by: Option<String>,
    #[serde(alias = "hasParameters")]
    pub has_parameters: Option<bool>,
    #[serde(alias = "parametersDescription")]
    pub parameters_description: Option<String>,
    /// Whether `ensure` changed the file; otherwise `None`.
    #[serde(default)]
    pub changed: Option<bool>,
    #[serde(rename = "_raw", default = "super::decode::empty_raw")]
    pub raw: Raw,
}

impl Entity for LibraryFile {
    fn set_raw(&mut self, raw: Raw) {
        self.raw = raw;
    }
}

/// Refuses a name that the library does not accept: only letters, digits, `-`, `_` and `.` are
/// allowed (page "live-response").
pub fn check_library_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("the name of a library file is empty"));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // A name of dots only would be a folder in the agent's path.
    if !name.chars().all(is_allowed) || name.chars().all(|c| c == '.') {
        return Err(Error::invalid(format!("{name:?} is not a valid name of a library file"))
            .with_hint("use letters, digits, '-', '_' and '.' only; the name is not a path"));
    }
    Ok(())
}
