//! Fleet runs: their rows, which worker holds which row, and the outcome of each row.
//!
//! Any process can resume a run from here. Every method is one atomic decision or one durable
//! write.

use serde::{Deserialize, Serialize};

use super::StoreFuture;
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

/// An outcome with its number. Outcomes are numbered from 1 in the order they were stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedOutcome {
    pub number: u64,
    pub row: u32,
    pub outcome: String,
}

/// Keeps the fleet runs of one quota key. Methods fail with `NotFound` for an unknown run, except
/// [`create_run`](RunStore::create_run) and [`get_run`](RunStore::get_run).
pub trait RunStore: Send + Sync {
    /// Stores a run durably with all its rows.
    ///
    /// If a run with this id exists, leaves it as it is and returns its header.
    fn create_run(&self, head: RunHeader, rows: Vec<NewRow>) -> StoreFuture<'_, Option<RunHeader>>;

    /// Returns the run, or `None`.
    fn get_run<'a>(&'a self, run_id: &'a str) -> StoreFuture<'a, Option<Run>>;

    /// Returns the headers of the runs that have rows without an outcome.
    fn list_unfinished_runs(&self) -> StoreFuture<'_, Vec<RunHeader>>;

    /// Returns at most `count` rows, starting with row `from`.
    fn list_rows<'a>(
        &'a self,
        run_id: &'a str,
        from: u32,
        count: u32,
    ) -> StoreFuture<'a, Vec<RowState>>;

    /// Records durably which machines the rows resolved to, as (row, machine id).
    ///
    /// Returns (row, owner) pairs: the owner is the first row that named the machine. Only the
    /// owner runs; the other rows are duplicates. Calling it twice changes nothing.
    fn record_machines<'a>(
        &'a self,
        run_id: &'a str,
        machines: Vec<(u32, String)>,
    ) -> StoreFuture<'a, Vec<(u32, u32)>>;

    /// Keeps the worker's claims for `lease` seconds more. With a lease of 0, frees all its rows.
    fn heartbeat<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> StoreFuture<'a, ()>;

    /// Claims the first of `candidates` that has no outcome and that no other live worker holds.
    ///
    /// Returns the row, or `None` if there is no such row. The claim holds as long as the worker
    /// calls [`heartbeat`](RunStore::heartbeat).
    fn claim_row<'a>(
        &'a self,
        run_id: &'a str,
        worker: u64,
        candidates: Vec<u32>,
    ) -> StoreFuture<'a, Option<RowState>>;

    /// Records the progress of a row durably. It is merged with the stored progress and never goes
    /// back.
    fn record_progress<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        progress: RowProgress,
    ) -> StoreFuture<'a, ()>;

    /// Records the outcome of a row durably. Returns false, and changes nothing, if it had one.
    fn finish_row<'a>(&'a self, run_id: &'a str, finished: FinishedRow) -> StoreFuture<'a, bool>;

    /// Replaces the outcome `before` of a row, and its result, durably. The number stays.
    ///
    /// Returns false, and changes nothing, if the row has another outcome by now.
    fn replace_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        finished: FinishedRow,
    ) -> StoreFuture<'a, bool>;

    /// Returns at most `count` outcomes with numbers greater than `after`, in order.
    fn list_outcomes<'a>(
        &'a self,
        run_id: &'a str,
        after: u64,
        count: u32,
    ) -> StoreFuture<'a, Vec<NumberedOutcome>>;

    /// Returns the result stored with the outcome of a row, or `None`.
    fn get_result<'a>(&'a self, run_id: &'a str, row: u32) -> StoreFuture<'a, Option<String>>;

    /// Stops the run for all workers, durably. Of two requests, the one with `running` is kept.
    fn request_stop<'a>(&'a self, run_id: &'a str, stop: StopRequest) -> StoreFuture<'a, ()>;
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
}
