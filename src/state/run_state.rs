//! What the run store keeps of a run and of its rows.

use serde::{Deserialize, Serialize};

use crate::model::Command;

/// The arguments that a run was started with. Its rows are stored separately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    pub run_id: String,
    /// The run id was generated, so nothing can have been submitted with it before.
    pub generated: bool,
    pub comment: String,
    /// The lists of commands that rows refer to by index.
    pub commands: Vec<Vec<Command>>,
    pub rows: u32,
    /// A hash of machines and commands. A run started again with the same id must have the same
    /// one.
    pub fingerprint: String,
    pub save_to: Option<String>,
    /// Save the transcripts of scripts there too.
    #[serde(default)]
    pub save_transcripts: bool,
    /// Seconds after which a Pending session is cancelled and submitted again later.
    pub cancel_pending_after: Option<f64>,
    /// Until when machines that were not reached are tried again, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<f64>,
}

/// A row as the caller passed it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRow {
    pub machine: String,
    /// Set if `machine` already is a machine id.
    pub machine_id: Option<String>,
    /// Index of its commands in the header.
    pub commands: u32,
}

/// The present state of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct RowState {
    pub row: u32,
    pub machine: String,
    pub machine_id: Option<String>,
    pub commands: u32,
    pub progress: RowProgress,
    pub done: bool,
    /// What was recorded when its machine was last not reached.
    pub unreached: Option<Unreached>,
}

/// When the machine of a row was not reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unreached {
    /// [`RowProgress::parked`] at that time. A higher one means that the row was tried again.
    pub parked: u32,
    /// When its last session ended. Only a machine that was seen after that is tried again.
    pub since: f64,
    /// The name of the machine at the service.
    pub name: String,
}

/// The progress of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowProgress {
    /// How many earlier sessions were cancelled because they stayed Pending.
    pub parked: u32,
    /// The present session is being cancelled and will be submitted again later.
    pub parking: bool,
    /// When its first session was accepted, in seconds since the Unix epoch.
    pub first_submit: Option<f64>,
}

/// A run in one line, for lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub run_id: String,
    pub comment: String,
    /// In seconds since the Unix epoch.
    pub created: f64,
    /// The number of rows.
    pub machines: u32,
    /// The number of rows with an outcome.
    pub done: u32,
    pub ok: u32,
    pub cancelled: bool,
}

/// The present state of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub head: RunHeader,
    pub stopped: Option<StopRequest>,
}

/// A request to submit nothing more. With `running`, running sessions are cancelled too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopRequest {
    pub comment: String,
    pub running: bool,
}

/// The outcome of a row, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedRow {
    pub row: u32,
    pub outcome: String,
    /// Stored separately because it may be large.
    pub result: Option<String>,
}

/// An outcome with its number. Outcomes are numbered from 1 in the order they were stored. A number
/// is never used again: that of an outcome which was withdrawn stays unused.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedOutcome {
    pub number: u64,
    pub row: u32,
    pub outcome: String,
}

impl RowProgress {
    /// Combines two records of the same row. Neither undoes what the other has recorded.
    #[must_use]
    pub fn merge(self, newer: Self) -> Self {
        let parking = match newer.parked.cmp(&self.parked) {
            std::cmp::Ordering::Less => self.parking,
            std::cmp::Ordering::Equal => self.parking || newer.parking,
            std::cmp::Ordering::Greater => newer.parking,
        };
        let first_submit = self.first_submit.or(newer.first_submit);
        Self { parked: self.parked.max(newer.parked), parking, first_submit }
    }
}

impl RowState {
    /// Returns whether the row waits until the service has seen its machine again.
    pub fn is_unreached(&self) -> bool {
        !self.done && self.unreached.as_ref().is_some_and(|it| it.parked >= self.progress.parked)
    }
}

/// Returns whether a stored outcome is that of a row where everything succeeded.
pub fn is_ok_outcome(outcome: &str) -> bool {
    #[derive(Deserialize)]
    struct Reason {
        reason: String,
    }
    serde_json::from_str(outcome).is_ok_and(|Reason { reason }| reason == "ok")
}

/// Sorts runs as [`RunStore::list_runs`] returns them.
pub fn sort_newest_first(runs: &mut [RunSummary]) {
    runs.sort_by(|a, b| b.created.total_cmp(&a.created).then_with(|| a.run_id.cmp(&b.run_id)));
}

impl StopRequest {
    /// Returns the request that stops more. If both stop the same, returns `self`.
    #[must_use]
    pub fn or_stronger(self, other: Self) -> Self {
        if other.running && !self.running { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_back() {
        let far = RowProgress { parked: 2, parking: false, first_submit: Some(5.0) };
        assert_eq!(far.merge(RowProgress::default()), far);
        let parking = RowProgress { parking: true, ..far };
        assert_eq!(far.merge(parking), parking);
        assert_eq!(parking.merge(far), parking);
        assert_eq!(
            parking.merge(RowProgress { parked: 3, ..far }),
            RowProgress { parked: 3, ..far }
        );
        let stop = |running: bool| StopRequest { comment: running.to_string(), running };
        assert!(
            stop(false).or_stronger(stop(true)).running
                && stop(true).or_stronger(stop(false)).running
        );
    }

    #[test]
    fn a_time_survives_json() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..10_000 {
            let created = 1.7e9 + rng.f64() * 2e8;
            let json = serde_json::to_string(&created).unwrap();
            assert_eq!(serde_json::from_str::<f64>(&json).unwrap(), created);
        }
    }
}
