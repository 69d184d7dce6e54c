//! The stages of a row, and how many rows are at each.

use std::collections::BTreeMap;

/// The stage of a row, as this process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its machine is not known yet.
    Unresolved,
    Waiting,
    /// Its machine was not reached, and was not seen again since.
    Unreached,
    /// Another worker has the row.
    ClaimedElsewhere,
    /// Its submit waits in the admission queue.
    Admitting,
    /// Its submit is being sent.
    Posting,
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// The number of rows at each stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub waiting: u32,
    pub pending: u32,
    pub running: u32,
    pub succeeded: u32,
    pub failed: u32,
}

impl Counts {
    /// Returns the counts under the names that Python shows.
    pub fn to_map(self) -> BTreeMap<&'static str, u32> {
        BTreeMap::from([
            ("waiting", self.waiting),
            ("pending", self.pending),
            ("running", self.running),
            ("succeeded", self.succeeded),
            ("failed", self.failed),
        ])
    }

    /// Returns the count that a row at this stage belongs to.
    pub fn count_mut(&mut self, stage: Stage) -> &mut u32 {
        match stage {
            Stage::Unresolved
            | Stage::Waiting
            | Stage::Unreached
            | Stage::ClaimedElsewhere
            | Stage::Admitting
            | Stage::Posting => &mut self.waiting,
            Stage::Pending => &mut self.pending,
            Stage::Running => &mut self.running,
            Stage::Succeeded => &mut self.succeeded,
            Stage::Failed => &mut self.failed,
        }
    }
}
