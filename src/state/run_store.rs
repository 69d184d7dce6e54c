//! What a run over many machines leaves behind, so that any process can go on with it: its rows, who is at which, and
//! each row's outcome. Every method is one atomic decision or one durable note.

use serde::{Deserialize, Serialize};

use super::store::StoreFuture;
use crate::model::Command;

/// What a run was started with. Its rows are kept beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunHeader {
    pub run_id: String,
    /// The id was made for this run, so nothing can have been submitted under it before.
    pub generated: bool,
    pub comment: String,
    /// The commands that the rows refer to by their place.
    pub commands: Vec<Vec<Command>>,
    pub rows: u32,
    /// A digest of machines and commands: a run that is called again must be the same.
    pub fingerprint: String,
    pub save_to: Option<String>,
    /// Seconds.
    pub cancel_pending_after: Option<f64>,
}

/// A row as it was given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRow {
    pub machine: String,
    /// Where `machine` is one already.
    pub machine_id: Option<String>,
    /// The place of its commands in the head.
    pub commands: u32,
}

/// A row as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RowState {
    pub row: u32,
    pub machine: String,
    pub machine_id: Option<String>,
    pub commands: u32,
    pub progress: RowProgress,
    pub done: bool,
}

/// How far a row came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowProgress {
    /// Sessions before the present one, which were cancelled while they were Pending.
    pub parked: u32,
    /// The present session is being cancelled, to be submitted again later.
    pub parking: bool,
    /// When its first session was accepted, in seconds since the Unix epoch.
    pub first_submit: Option<f64>,
}

/// A run as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub head: RunHeader,
    pub stopped: Option<StopRequest>,
}

/// Nothing more is to be submitted; with `running`, what runs is to be cancelled too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopRequest {
    pub comment: String,
    pub running: bool,
}

/// What a row came to, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedRow {
    pub row: u32,
    pub outcome: String,
    /// Kept apart, for it may be large.
    pub result: Option<String>,
}

/// The outcomes of a run have numbers from 1 on, in the order in which they came.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedOutcome {
    pub number: u64,
    pub row: u32,
    pub outcome: String,
}

/// Runs, for all that share a quota key.
pub trait RunStore: Send + Sync {
    /// Writes a run down, durably. One that is there already is left as it is, and told.
    fn create_run(&self, head: RunHeader, rows: Vec<NewRow>) -> StoreFuture<'_, Option<RunHeader>>;

    fn get_run<'a>(&'a self, run_id: &'a str) -> StoreFuture<'a, Option<Run>>;

    /// At most `count` rows from `from` on.
    fn list_rows<'a>(
        &'a self,
        run_id: &'a str,
        from: u32,
        count: u32,
    ) -> StoreFuture<'a, Vec<RowState>>;

    /// Notes which machines rows mean. Tells for each the row that has the machine, which is the first that named it.
    fn record_machines<'a>(
        &'a self,
        run_id: &'a str,
        machines: Vec<(u32, String)>,
    ) -> StoreFuture<'a, Vec<(u32, u32)>>;

    /// A worker is at the run for the next `lease` seconds; with none, it has left, and its rows are free.
    fn heartbeat<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> StoreFuture<'a, ()>;

    /// Takes the first of `candidates` that is neither done nor another's who attends.
    fn claim_row<'a>(
        &'a self,
        run_id: &'a str,
        worker: u64,
        candidates: Vec<u32>,
    ) -> StoreFuture<'a, Option<RowState>>;

    /// Notes, durably, how far a row came. What is known of it already is never taken back.
    fn record_progress<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        progress: RowProgress,
    ) -> StoreFuture<'a, ()>;

    /// Notes a row's outcome, durably. Tells whether it was the first.
    fn finish_row<'a>(&'a self, run_id: &'a str, finished: FinishedRow) -> StoreFuture<'a, bool>;

    /// At most `count` outcomes that came after the one of number `after`.
    fn list_outcomes<'a>(
        &'a self,
        run_id: &'a str,
        after: u64,
        count: u32,
    ) -> StoreFuture<'a, Vec<NumberedOutcome>>;

    /// The result that belongs to a row's outcome.
    fn get_result<'a>(&'a self, run_id: &'a str, row: u32) -> StoreFuture<'a, Option<String>>;

    /// Stops a run for all that are at it. The sterner of two stands.
    fn request_stop<'a>(&'a self, run_id: &'a str, stop: StopRequest) -> StoreFuture<'a, ()>;
}

impl RowProgress {
    /// What both tell: neither takes back what the other knows.
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
    /// The sterner of the two; of equals, this one.
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
