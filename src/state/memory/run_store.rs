//! Fleet runs in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::ready;

use super::run_record::RunRecord;
use crate::error::Result;
use crate::state::StoreFuture;
use crate::state::run_store::*;
use crate::state::settings::StoreSettings;
use crate::state::store_error::unknown_run;

/// The runs of one quota key, by their ids.
pub type RunRecords = Mutex<HashMap<String, RunRecord>>;

/// The store of these runs.
pub struct MemoryRunStore {
    settings: StoreSettings,
    records: Arc<RunRecords>,
}

impl MemoryRunStore {
    pub fn new(settings: StoreSettings, records: Arc<RunRecords>) -> Self {
        Self { settings, records }
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, RunRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> f64 {
        self.settings.now.as_ref().map_or_else(|| self.settings.clock.now(), |now| now())
    }

    /// Deletes runs that started more than `seconds` ago and have no live worker. Returns the
    /// count.
    pub fn prune(&self, seconds: f64) -> u64 {
        let now = self.now();
        let mut runs = self.runs();
        let before = runs.len();
        runs.retain(|_, record| {
            record.created > now - seconds || record.workers.values().any(|until| *until > now)
        });
        (before - runs.len()) as u64
    }

    /// Runs `act` on the run, or fails if there is none.
    fn with<T: Send + 'static>(
        &self,
        run_id: &str,
        act: impl FnOnce(&mut RunRecord, f64) -> T,
    ) -> StoreFuture<'_, T> {
        let now = self.now();
        let done: Result<T> = self
            .runs()
            .get_mut(run_id)
            .map(|record| act(record, now))
            .ok_or_else(|| unknown_run(run_id));
        ready(done).boxed()
    }
}

impl RunStore for MemoryRunStore {
    fn create_run(&self, head: RunHeader, rows: Vec<NewRow>) -> StoreFuture<'_, Option<RunHeader>> {
        let now = self.now();
        let mut runs = self.runs();
        let known = runs.get(&head.run_id).map(|record| record.head.clone());
        if known.is_none() {
            runs.insert(head.run_id.clone(), RunRecord::new(head, rows, now));
        }
        ready(Ok(known)).boxed()
    }

    fn get_run<'a>(&'a self, run_id: &'a str) -> StoreFuture<'a, Option<Run>> {
        let run =
            |record: &RunRecord| Run { head: record.head.clone(), stopped: record.stopped.clone() };
        let run = self.runs().get(run_id).map(run);
        ready(Ok(run)).boxed()
    }

    fn list_unfinished_runs(&self) -> StoreFuture<'_, Vec<RunHeader>> {
        let runs = self.runs();
        let unfinished = runs.values().filter(|record| !record.is_over());
        ready(Ok(unfinished.map(|record| record.head.clone()).collect())).boxed()
    }

    fn list_runs(&self) -> StoreFuture<'_, Vec<RunSummary>> {
        let mut runs: Vec<_> = self.runs().values().map(RunRecord::summary).collect();
        sort_newest_first(&mut runs);
        ready(Ok(runs)).boxed()
    }

    fn set_until<'a>(&'a self, run_id: &'a str, until: f64) -> StoreFuture<'a, ()> {
        self.with(run_id, |record, _| record.head.until = Some(until))
    }

    fn list_rows<'a>(
        &'a self,
        run_id: &'a str,
        from: u32,
        count: u32,
    ) -> StoreFuture<'a, Vec<RowState>> {
        self.with(run_id, |record, _| {
            (from..from.saturating_add(count)).map_while(|at| record.state(at)).collect()
        })
    }

    fn record_machines<'a>(
        &'a self,
        run_id: &'a str,
        machines: Vec<(u32, String)>,
    ) -> StoreFuture<'a, Vec<(u32, u32)>> {
        self.with(run_id, |record, _| {
            machines.into_iter().map(|(at, id)| (at, record.resolve(at, id))).collect()
        })
    }

    fn move_row<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        parked: u32,
        machine_id: String,
    ) -> StoreFuture<'a, Option<u32>> {
        self.with(run_id, move |record, _| record.move_row(row, parked, machine_id))
    }

    fn heartbeat<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> StoreFuture<'a, ()> {
        self.with(run_id, |record, now| {
            // Dead workers are removed here, because nothing else visits them.
            record.workers.retain(|other, until| *other != worker && *until > now);
            if lease > 0.0 {
                record.workers.insert(worker, now + lease);
            }
        })
    }

    fn claim_row<'a>(
        &'a self,
        run_id: &'a str,
        worker: u64,
        candidates: Vec<u32>,
    ) -> StoreFuture<'a, Option<RowState>> {
        self.with(run_id, |record, now| {
            let free = candidates.into_iter().find(|at| record.is_free(*at, worker, now))?;
            if let Some(row) = record.row(free) {
                row.worker = Some(worker);
            }
            record.state(free)
        })
    }

    fn record_progress<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        progress: RowProgress,
    ) -> StoreFuture<'a, ()> {
        self.with(run_id, |record, _| {
            if let Some(row) = record.row(row) {
                row.progress = row.progress.merge(progress);
            }
        })
    }

    fn record_unreached<'a>(
        &'a self,
        run_id: &'a str,
        unreached: Unreached,
        last: FinishedRow,
    ) -> StoreFuture<'a, ()> {
        self.with(run_id, |record, _| record.record_unreached(unreached, last))
    }

    fn get_last_outcome<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
    ) -> StoreFuture<'a, Option<FinishedRow>> {
        self.with(run_id, move |record, _| record.last_outcome(row))
    }

    fn withdraw_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        unreached: Unreached,
    ) -> StoreFuture<'a, bool> {
        self.with(run_id, |record, _| record.withdraw(before, unreached))
    }

    fn finish_row<'a>(&'a self, run_id: &'a str, finished: FinishedRow) -> StoreFuture<'a, bool> {
        self.with(run_id, |record, _| record.finish(finished))
    }

    fn replace_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        finished: FinishedRow,
    ) -> StoreFuture<'a, bool> {
        self.with(run_id, |record, _| record.replace(&before, finished))
    }

    fn list_outcomes<'a>(
        &'a self,
        run_id: &'a str,
        after: u64,
        count: u32,
    ) -> StoreFuture<'a, Vec<NumberedOutcome>> {
        self.with(run_id, move |record, _| record.outcomes(after, count))
    }

    fn get_result<'a>(&'a self, run_id: &'a str, row: u32) -> StoreFuture<'a, Option<String>> {
        self.with(run_id, |record, _| record.row(row)?.result.as_deref().map(str::to_owned))
    }

    fn request_stop<'a>(&'a self, run_id: &'a str, stop: StopRequest) -> StoreFuture<'a, ()> {
        self.with(run_id, |record, _| {
            let known = record.stopped.take();
            record.stopped = Some(match known {
                // A weaker request must not undo a stronger one.
                Some(known) => known.or_stronger(stop),
                None => stop,
            });
        })
    }
}
