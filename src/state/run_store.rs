//! Fleet runs: their rows, which worker holds which row, and the outcome of each row.
//!
//! Any process can resume a run from here. Every method is one atomic decision or one durable
//! write.

use super::StoreFuture;
pub use super::run_state::*;

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

    /// Returns all runs, newest first.
    fn list_runs(&self) -> StoreFuture<'_, Vec<RunSummary>>;

    /// Stores until when machines that were not reached are tried again.
    fn set_until<'a>(&'a self, run_id: &'a str, until: f64) -> StoreFuture<'a, ()>;

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

    /// Records durably that the machine of a row that was not reached has another id now. `parked`
    /// is [`RowProgress::parked`] of the row as the caller has read it.
    ///
    /// Returns the owner of the machine, as [`record_machines`](RunStore::record_machines) does.
    /// Returns `None`, and changes nothing, if the row was tried again since, or has its outcome.
    fn move_row<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        parked: u32,
        machine_id: String,
    ) -> StoreFuture<'a, Option<u32>>;

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

    /// Records durably that the machine of a row was not reached, and what its outcome is if the
    /// machine is never reached. Changes nothing if the row has its outcome.
    fn record_unreached<'a>(
        &'a self,
        run_id: &'a str,
        unreached: Unreached,
        last: FinishedRow,
    ) -> StoreFuture<'a, ()>;

    /// Returns what [`record_unreached`](RunStore::record_unreached) stored last, or `None`.
    fn get_last_outcome<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
    ) -> StoreFuture<'a, Option<FinishedRow>>;

    /// Withdraws the outcome of a row durably, so that its machine is tried again. It becomes the
    /// last outcome of [`get_last_outcome`](RunStore::get_last_outcome), and its result stays.
    ///
    /// Returns false, and changes nothing, if the row has another outcome by now, or none.
    fn withdraw_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        unreached: Unreached,
    ) -> StoreFuture<'a, bool>;

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
