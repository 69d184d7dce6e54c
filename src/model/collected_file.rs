//! Files that GetFile collected from a machine.

use serde::{Deserialize, Serialize};

/// The format of a payload, detected by its first bytes.
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
    /// Returns the name that Python and JSON use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zip => "zip",
            Self::Json => "json",
            Self::Other => "other",
        }
    }
}

/// A collected file. `size` and `sha256` are those of the unpacked file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CollectedFile {
    /// Path on the machine, as requested.
    pub remote_path: String,
    /// Path of the saved file; `None` if a file object or an iterator received it.
    pub path: Option<String>,
    /// File name, safe on any file system: the one in the payload, or else the last part of the
    /// remote path.
    #[serde(default)]
    pub name: String,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
    /// Format of the payload. A gzip was unpacked; other formats are saved as received.
    #[serde(default)]
    pub payload: PayloadFormat,
    /// Size of the payload as received, in bytes.
    #[serde(default)]
    pub received_size: u64,
    /// SHA-256 of the payload as received.
    #[serde(default)]
    pub received_sha256: String,
}
