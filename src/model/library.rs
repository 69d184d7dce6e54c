//! A file of the live response library.

use serde::{Deserialize, Serialize};

use super::decode::{Entity, Raw};
use super::timestamp::Timestamp;

/// A library file as the service described it (page "list-library-files").
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all(deserialize = "camelCase"))]
pub struct LibraryFile {
    pub file_name: String,
    pub sha256: Option<String>,
    pub description: Option<String>,
    pub creation_time: Option<Timestamp>,
    pub last_updated_time: Option<Timestamp>,
    pub created_by: Option<String>,
    pub has_parameters: Option<bool>,
    pub parameters_description: Option<String>,
    /// By `ensure`; else none.
    #[serde(skip_deserializing)]
    pub changed: Option<bool>,
    #[serde(skip, default = "super::decode::no_raw")]
    pub raw: Raw,
}

impl Entity for LibraryFile {
    fn keep(&mut self, raw: Raw) {
        self.raw = raw;
    }
}
