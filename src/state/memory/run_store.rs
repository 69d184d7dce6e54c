//! Fleet runs in memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::ready;

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

pub struct RunRecord {
    head: RunHeader,
    pub created: f64,
    stopped: Option<StopRequest>,
    pub rows: Vec<RowRecord>,
    /// By machine id, the first row that named it.
    owners: HashMap<Arc<str>, u32>,
    /// By worker, the end of its lease.
    workers: HashMap<u64, f64>,
    /// Rows in the order their outcomes came.
    done: Vec<u32>,
}

pub struct RowRecord {
    machine: Box<str>,
    machine_id: Option<Arc<str>>,
    commands: u32,
    progress: RowProgress,
    worker: Option<u64>,
    outcome: Option<Box<str>>,
    result: Option<Box<str>>,
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

impl RunRecord {
    fn new(head: RunHeader, rows: Vec<NewRow>, created: f64) -> Self {
        let mut record = Self {
            head,
            created,
            stopped: None,
            rows: Vec::with_capacity(rows.len()),
            owners: HashMap::new(),
            workers: HashMap::new(),
            done: Vec::new(),
        };
        for (at, NewRow { machine, machine_id, commands }) in (0..).zip(rows) {
            let machine_id: Option<Arc<str>> = machine_id.map(Arc::from);
            if let Some(id) = &machine_id {
                // The first row that names a machine owns it.
                record.owners.entry(id.clone()).or_insert(at);
            }
            record.rows.push(RowRecord {
                machine: machine.into(),
                machine_id,
                commands,
                progress: RowProgress::default(),
                worker: None,
                outcome: None,
                result: None,
            });
        }
        record
    }

    fn row(&mut self, at: u32) -> Option<&mut RowRecord> {
        self.rows.get_mut(at as usize)
    }

    fn state(&self, at: u32) -> Option<RowState> {
        let row = self.rows.get(at as usize)?;
        Some(RowState {
            row: at,
            machine: row.machine.to_string(),
            machine_id: row.machine_id.as_deref().map(str::to_owned),
            commands: row.commands,
            progress: row.progress,
            done: row.outcome.is_some(),
        })
    }

    /// Sets the machine of a row. Returns the first row that named the machine.
    fn resolve(&mut self, at: u32, machine_id: String) -> u32 {
        let machine_id: Arc<str> = machine_id.into();
        let owner = *self.owners.entry(machine_id.clone()).or_insert(at);
        if let Some(row) = self.row(at) {
            row.machine_id = Some(machine_id);
        }
        owner
    }

    /// Returns whether the worker may claim the row.
    fn is_free(&self, at: u32, worker: u64, now: f64) -> bool {
        let Some(row) = self.rows.get(at as usize) else { return false };
        let is_alive = |other: u64| self.workers.get(&other).is_some_and(|until| *until > now);
        // A worker may claim its own row again, after a lost answer.
        row.outcome.is_none() && row.worker.is_none_or(|other| other == worker || !is_alive(other))
    }

    /// Stores the outcome, unless the row has one.
    fn finish(&mut self, finished: FinishedRow) -> bool {
        let at = finished.row;
        let Some(row) = self.row(at).filter(|row| row.outcome.is_none()) else { return false };
        row.outcome = Some(finished.outcome.into());
        row.result = finished.result.map(Into::into);
        self.done.push(at);
        true
    }

    /// Stores another outcome, unless the row has not `before` any more.
    fn replace(&mut self, before: &NumberedOutcome, finished: FinishedRow) -> bool {
        let is_same = |row: &&mut RowRecord| row.outcome.as_deref() == Some(&before.outcome);
        let Some(row) = self.row(finished.row).filter(is_same) else { return false };
        row.outcome = Some(finished.outcome.into());
        row.result = finished.result.map(Into::into);
        true
    }

    fn outcome(&self, at: usize) -> Option<NumberedOutcome> {
        let row = *self.done.get(at)?;
        let outcome = self.rows.get(row as usize)?.outcome.as_deref()?.to_owned();
        Some(NumberedOutcome { number: at as u64 + 1, row, outcome })
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
        let unfinished = runs.values().filter(|record| record.done.len() < record.rows.len());
        ready(Ok(unfinished.map(|record| record.head.clone()).collect())).boxed()
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
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        self.with(run_id, |record, _| {
            (from..).take(count as usize).map_while(|at| record.outcome(at)).collect()
        })
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
