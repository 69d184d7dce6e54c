//! Files of the live response library.

use serde::{Deserialize, Serialize};

use super::record::{Entity, Raw};
use super::timestamp::Timestamp;
use crate::error::{Error, Result};

/// A library file as the service describes it (page "list-library-files").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LibraryFile {
    #[serde(alias = "fileName")]
    pub file_name: String,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    pub sha256: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    pub description: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "creationTime")]
    pub creation_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "lastUpdatedTime")]
    pub last_updated_time: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "createdBy")]
    pub created_by: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "hasParameters")]
    pub has_parameters: Option<bool>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "parametersDescription")]
    pub parameters_description: Option<String>,
    /// Whether `ensure` changed the file; otherwise `None`.
    #[serde(default)]
    pub changed: Option<bool>,
    #[serde(rename = "_raw", default = "super::record::empty_raw")]
    pub raw: Raw,
}

/// What a library file needs.
#[derive(Deserialize)]
pub struct NeededName {
    #[serde(rename = "fileName")]
    _file_name: String,
}

impl Entity for LibraryFile {
    type Needed = NeededName;

    fn set_raw(&mut self, raw: Raw) {
        self.raw = raw;
    }

    fn id(&self) -> &str {
        &self.file_name
    }
}

/// The longest name of a library file, as of most file systems.
const MAX_NAME_LENGTH: usize = 255;

/// Refuses a name that cannot be in the library. Unlike [`check_library_name`] it accepts those
/// that other tools uploaded, as with a blank.
pub fn check_stored_name(name: &str) -> Result<()> {
    let is_dots = name.chars().all(|c| c == '.');
    if is_dots || name.len() > 4 * MAX_NAME_LENGTH || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(60).collect();
        return Err(Error::invalid(format!("{shown:?} is not the name of a library file"))
            .with_hint("library.list() returns the names of all files"));
    }
    Ok(())
}

/// Refuses a name that the library does not accept: only letters, digits, `-`, `_` and `.` are
/// allowed (page "live-response").
pub fn check_library_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("the name of a library file is empty"));
    }
    if name.len() > MAX_NAME_LENGTH {
        let message = format!("the name of a library file has {} bytes", name.len());
        return Err(Error::invalid(message).with_hint("give a name of at most 255 characters"));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    // A name of dots only would be a folder in the agent's path.
    if !name.chars().all(is_allowed) || name.chars().all(|c| c == '.') {
        return Err(Error::invalid(format!("{name:?} is not a valid name of a library file"))
            .with_hint("use letters, digits, '-', '_' and '.' only; the name is not a path"));
    }
    Ok(())
}
