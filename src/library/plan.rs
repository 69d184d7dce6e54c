//! What a change of the library does, or would do.

use serde::{Deserialize, Serialize};

/// The files of the library by what happens to them, as names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibraryPlan {
    pub add: Vec<String>,
    pub replace: Vec<String>,
    /// Only the description or the parameters change.
    pub describe: Vec<String>,
    pub delete: Vec<String>,
    /// Unchanged.
    pub leave: Vec<String>,
    /// Uploaded by others, and never touched.
    pub others: Vec<String>,
    /// Those of `others` that the folder of a sync has with other content.
    #[serde(default)]
    pub conflicts: Vec<String>,
}
