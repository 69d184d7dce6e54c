//! The journal of the processes of one machine.

use super::SqliteStore;
use super::books::{Books, Durable};
use crate::error::Result;
use crate::state::journal::*;
use crate::state::lost::no_run;
use crate::state::store::Reply;

impl SqliteStore {
    /// Does `work`, which finds no run where there is none of this id.
    fn at_run<'a, T: Send + 'static>(
        &'a self,
        durable: Durable,
        run_id: &'a str,
        work: impl FnOnce(&Books, &str, f64) -> rusqlite::Result<Option<T>> + Send + 'static,
    ) -> Reply<'a, T> {
        let owned = run_id.to_owned();
        let done = self.worker.run(durable, move |books, now| work(books, &owned, now));
        Box::pin(async move { Result::and_then(done.await, |found| found.ok_or_else(|| no_run(run_id))) })
    }
}

impl Journal for SqliteStore {
    fn begin_run(&self, head: RunHead, rows: Vec<NewRow>) -> Reply<'_, Option<RunHead>> {
        self.worker.run(Durable::Yes, move |books, now| books.begin_run(&head, &rows, now))
    }

    fn run<'a>(&'a self, run_id: &'a str) -> Reply<'a, Option<Run>> {
        let run_id = run_id.to_owned();
        self.worker.run(Durable::NeedNotBe, move |books, _| books.run(&run_id))
    }

    fn rows<'a>(&'a self, run_id: &'a str, from: u32, count: u32) -> Reply<'a, Vec<RowState>> {
        self.at_run(Durable::NeedNotBe, run_id, move |books, run_id, _| books.run_rows(run_id, from, count))
    }

    fn resolved<'a>(&'a self, run_id: &'a str, machines: Vec<(u32, String)>) -> Reply<'a, Vec<(u32, u32)>> {
        self.at_run(Durable::Yes, run_id, move |books, run_id, _| books.resolved(run_id, &machines))
    }

    fn attend<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> Reply<'a, ()> {
        self.at_run(Durable::NeedNotBe, run_id, move |books, run_id, now| books.attend(run_id, worker, lease, now))
    }

    fn claim<'a>(&'a self, run_id: &'a str, worker: u64, candidates: Vec<u32>) -> Reply<'a, Option<RowState>> {
        self.at_run(Durable::NeedNotBe, run_id, move |books, run_id, now| books.claim(run_id, worker, &candidates, now))
    }

    fn progress<'a>(&'a self, run_id: &'a str, row: u32, progress: Progress) -> Reply<'a, ()> {
        self.at_run(Durable::Yes, run_id, move |books, run_id, _| books.note_progress(run_id, row, progress))
    }

    fn finish<'a>(&'a self, run_id: &'a str, finished: Finished) -> Reply<'a, bool> {
        self.at_run(Durable::Yes, run_id, move |books, run_id, _| books.finish_row(run_id, &finished))
    }

    fn outcomes<'a>(&'a self, run_id: &'a str, after: u64, count: u32) -> Reply<'a, Vec<Numbered>> {
        self.at_run(Durable::NeedNotBe, run_id, move |books, run_id, _| books.outcomes(run_id, after, count))
    }

    fn result<'a>(&'a self, run_id: &'a str, row: u32) -> Reply<'a, Option<String>> {
        self.at_run(Durable::NeedNotBe, run_id, move |books, run_id, _| books.row_result(run_id, row))
    }

    fn stop<'a>(&'a self, run_id: &'a str, stop: Stop) -> Reply<'a, ()> {
        self.at_run(Durable::Yes, run_id, move |books, run_id, _| books.stop_run(run_id, stop))
    }
}
