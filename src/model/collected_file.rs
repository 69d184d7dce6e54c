//! A file that was collected from a machine.

use serde::{Deserialize, Serialize};

/// What a payload is, told by its first bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadFormat {
    Gzip,
    Zip,
    Json,
    #[default]
    Other,
}

impl PayloadFormat {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zip => "zip",
            Self::Json => "json",
            Self::Other => "other",
        }
    }
}

/// What GetFile brought back. Size and digest are of the file itself, unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CollectedFile {
    /// Where it was on the machine, as it was asked for.
    pub remote_path: String,
    /// Where it was saved here; none when it went to a file object or an iterator.
    pub path: Option<String>,
    /// Its own name, safe on any file system: the payload's if it tells one, else the remote path's last part.
    #[serde(default)]
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// What came. A gzip was unpacked, all else is as it came.
    #[serde(default)]
    pub payload: PayloadFormat,
    /// Bytes of the payload as it came.
    #[serde(default)]
    pub received_size: u64,
    /// SHA-256 of the payload as it came.
    #[serde(default)]
    pub received_sha256: String,
}
