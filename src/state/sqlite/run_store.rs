//! The [`RunStore`] of SQLite.

use super::connection::{Durability, StoreConnection};
use super::{Sql, SqliteStore};
use crate::error::Result;
use crate::state::StoreFuture;
use crate::state::run_store::*;
use crate::state::store_error::unknown_run;

impl SqliteStore {
    /// Runs `work` in one transaction, and reports its `None` as an unknown run.
    fn with_run<'a, T: Send + 'static>(
        &'a self,
        durability: Durability,
        run_id: &'a str,
        work: impl FnOnce(&StoreConnection, &str, f64) -> Sql<Option<T>> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        let owned = run_id.to_owned();
        let done = self.worker.run(durability, move |db, now| work(db, &owned, now));
        Box::pin(async move {
            Result::and_then(done.await, |found| found.ok_or_else(|| unknown_run(run_id)))
        })
    }
}

impl RunStore for SqliteStore {
    fn create_run(&self, head: RunHeader, rows: Vec<NewRow>) -> StoreFuture<'_, Option<RunHeader>> {
        self.worker.run(Durability::Synced, move |db, now| db.create_run(&head, &rows, now))
    }

    fn get_run<'a>(&'a self, run_id: &'a str) -> StoreFuture<'a, Option<Run>> {
        let run_id = run_id.to_owned();
        self.worker.run(Durability::Relaxed, move |db, _| db.get_run(&run_id))
    }

    fn list_unfinished_runs(&self) -> StoreFuture<'_, Vec<RunHeader>> {
        self.worker.run(Durability::Relaxed, move |db, _| db.list_unfinished_runs())
    }

    fn list_runs(&self) -> StoreFuture<'_, Vec<RunSummary>> {
        self.worker.run(Durability::Relaxed, move |db, _| db.list_runs())
    }

    fn set_until<'a>(&'a self, run_id: &'a str, until: f64) -> StoreFuture<'a, ()> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| db.set_until(run_id, until))
    }

    fn list_rows<'a>(
        &'a self,
        run_id: &'a str,
        from: u32,
        count: u32,
    ) -> StoreFuture<'a, Vec<RowState>> {
        self.with_run(Durability::Relaxed, run_id, move |db, run_id, _| {
            db.list_rows(run_id, from, count)
        })
    }

    fn record_machines<'a>(
        &'a self,
        run_id: &'a str,
        machines: Vec<(u32, String)>,
    ) -> StoreFuture<'a, Vec<(u32, u32)>> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.record_machines(run_id, &machines)
        })
    }

    fn move_row<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        parked: u32,
        machine_id: String,
    ) -> StoreFuture<'a, Option<u32>> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.move_row(run_id, row, parked, &machine_id)
        })
    }

    fn heartbeat<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> StoreFuture<'a, ()> {
        self.with_run(Durability::Relaxed, run_id, move |db, run_id, now| {
            db.heartbeat(run_id, worker, lease, now)
        })
    }

    fn claim_row<'a>(
        &'a self,
        run_id: &'a str,
        worker: u64,
        candidates: Vec<u32>,
    ) -> StoreFuture<'a, Option<RowState>> {
        self.with_run(Durability::Relaxed, run_id, move |db, run_id, now| {
            db.claim_row(run_id, worker, &candidates, now)
        })
    }

    fn record_progress<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
        progress: RowProgress,
    ) -> StoreFuture<'a, ()> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.record_progress(run_id, row, progress)
        })
    }

    fn record_unreached<'a>(
        &'a self,
        run_id: &'a str,
        unreached: Unreached,
        last: FinishedRow,
    ) -> StoreFuture<'a, ()> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.record_unreached(run_id, &unreached, &last)
        })
    }

    fn get_last_outcome<'a>(
        &'a self,
        run_id: &'a str,
        row: u32,
    ) -> StoreFuture<'a, Option<FinishedRow>> {
        self.with_run(Durability::Relaxed, run_id, move |db, run_id, _| {
            db.get_last_outcome(run_id, row)
        })
    }

    fn withdraw_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        unreached: Unreached,
    ) -> StoreFuture<'a, bool> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.withdraw_outcome(run_id, &before, &unreached)
        })
    }

    fn finish_row<'a>(&'a self, run_id: &'a str, finished: FinishedRow) -> StoreFuture<'a, bool> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.finish_row(run_id, &finished)
        })
    }

    fn replace_outcome<'a>(
        &'a self,
        run_id: &'a str,
        before: NumberedOutcome,
        finished: FinishedRow,
    ) -> StoreFuture<'a, bool> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.replace_outcome(run_id, &before, &finished)
        })
    }

    fn list_outcomes<'a>(
        &'a self,
        run_id: &'a str,
        after: u64,
        count: u32,
    ) -> StoreFuture<'a, Vec<NumberedOutcome>> {
        self.with_run(Durability::Relaxed, run_id, move |db, run_id, _| {
            db.list_outcomes(run_id, after, count)
        })
    }

    fn get_result<'a>(&'a self, run_id: &'a str, row: u32) -> StoreFuture<'a, Option<String>> {
        self.with_run(Durability::Relaxed, run_id, move |db, run_id, _| db.get_result(run_id, row))
    }

    fn request_stop<'a>(&'a self, run_id: &'a str, stop: StopRequest) -> StoreFuture<'a, ()> {
        self.with_run(Durability::Synced, run_id, move |db, run_id, _| {
            db.request_stop(run_id, stop)
        })
    }
}
