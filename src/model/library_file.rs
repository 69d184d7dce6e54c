//! A file of the live response library.

use serde::{Deserialize, Serialize};

use super::decode::{Entity, Raw};
use super::timestamp::Timestamp;

/// A library file as the service described it (page "list-library-files").
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
    /// By `ensure`; else none.
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
