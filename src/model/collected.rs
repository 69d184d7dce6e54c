//! A file that was collected from a machine.

use serde::{Deserialize, Serialize};

/// What GetFile brought back. Size and digest are of the file itself, unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CollectedFile {
    /// Where it was on the machine, as it was asked for.
    pub remote_path: String,
    /// Where it was saved here; none when it went to a file object.
    pub path: Option<String>,
    /// Bytes.
    pub size: u64,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: String,
}
