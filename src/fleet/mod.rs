//! Many machines: one run, each row of which comes to exactly one outcome, whatever happens on the way.
//!
//! 1. [`start`] writes the run into the store's journal; any process can go on with it from there;
//! 2. `resolver` finds out which machine each row means, in pages, and how likely it answers;
//! 3. `scheduler` decides who goes next, and which Pending session gives up its slot;
//! 4. `row` takes one row from its submit to its outcome;
//! 5. `outage` waits where what all rows need fails, and begins again at 2;
//! 6. [`Fleet`] tells the outcomes as they come, those of other workers too.

mod manifest;
mod outage;
mod outcome;
mod priority;
mod resolver;
mod row;
mod row_table;
mod scheduler;
mod shared;
mod start;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use outage::Outage;
pub use outcome::Outcome;
pub use shared::Counts;
pub use start::RunSpec;

use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::session::SessionResult;
use crate::state::run_store::StopRequest;
use crate::trace::LOG_TARGET;
use shared::{Shared, WorkerState};

/// Outcomes that are read from the journal at once.
const PAGE: u32 = 64;
/// Seconds between two looks for what other workers noted.
const POLL_INTERVAL: f64 = 1.0;

/// One run over many machines, as this process has it. Dropped, it is detached.
pub struct Fleet {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    runtime: Handle,
}

/// How far a loop over the outcomes has come.
#[derive(Debug, Default)]
pub struct Cursor {
    number: u64,
    buffered: VecDeque<Outcome>,
}

/// Where the results of a run are, for as long as its store is open.
#[derive(Clone)]
pub struct ResultLoader {
    quota: Arc<Quota>,
    run_id: Arc<str>,
}

impl Fleet {
    pub fn run_id(&self) -> &str {
        &self.shared.head.run_id
    }

    /// How many rows there are, and so how many outcomes there will be.
    pub fn rows(&self) -> u32 {
        self.shared.head.rows
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    pub fn results(&self) -> ResultLoader {
        ResultLoader { quota: self.shared.quota.clone(), run_id: self.run_id().into() }
    }

    /// The next outcome after those that `cursor` has seen, once it is there; none when all have been told.
    pub async fn next(&self, cursor: &mut Cursor) -> Result<Option<Outcome>> {
        let mut changes = self.shared.worker_state.subscribe();
        let mut outage = Outage::default();
        loop {
            if let Some(outcome) = cursor.buffered.pop_front() {
                return Ok(Some(outcome));
            }
            let worker_state = changes.borrow_and_update().clone();
            let page = match self
                .shared
                .run_store()
                .list_outcomes(self.run_id(), cursor.number, PAGE)
                .await
            {
                Err(error)
                    if matches!(worker_state, WorkerState::Active)
                        && outage.wait_for_retry(&self.shared, &error).await =>
                {
                    continue;
                }
                page => page?,
            };
            cursor.number = page.last().map_or(cursor.number, |last| last.number);
            for numbered in page {
                let outcome = serde_json::from_str(&numbered.outcome).map_err(|error| {
                    Error::new(
                        Kind::State,
                        format!("the outcome of row {} is broken: {error}", numbered.row),
                    )
                })?;
                cursor.buffered.push_back(outcome);
            }
            if !cursor.buffered.is_empty() {
                continue;
            }
            if cursor.number >= u64::from(self.rows()) {
                return Ok(None);
            }
            match worker_state {
                WorkerState::Failed(error) => return Err(error),
                WorkerState::Detached => return Err(self.closed_error()),
                WorkerState::Active => {}
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.shared.sessions.pipeline.clock.sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Every outcome, when the last is there.
    pub async fn outcomes(&self) -> Result<Vec<Outcome>> {
        let (mut cursor, mut all) = (Cursor::default(), Vec::new());
        while let Some(outcome) = self.next(&mut cursor).await? {
            all.push(outcome);
        }
        Ok(all)
    }

    /// Stops the run for all who are at it: nothing more is submitted, and with `running` what runs is cancelled.
    pub async fn cancel(&self, comment: &str, running: bool) -> Result<()> {
        if comment.trim().is_empty() {
            return Err(Error::invalid("a cancel needs a comment")
                .with_hint("say why: it is kept with the outcomes"));
        }
        self.shared
            .run_store()
            .request_stop(self.run_id(), StopRequest { comment: comment.to_owned(), running })
            .await
    }

    /// Leaves the run. What runs goes on at the service; nothing more is submitted here. Tells whether it was at it.
    pub fn detach(&self) -> bool {
        let was_active = self.is_active();
        if was_active {
            self.shared.worker_state.send_replace(WorkerState::Detached);
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.is_empty() {
            return false;
        }
        tasks.abort_all();
        tasks.detach_all();
        let shared = self.shared.clone();
        self.runtime.spawn(async move { shared.release_rows().await });
        was_active && !self.is_over()
    }

    /// Leaves the run, and tells how it can be gone on with.
    pub fn detach_and_warn(&self) {
        if self.detach() {
            let Counts { succeeded, failed, .. } = self.counts();
            let (run_id, over, rows) = (self.run_id().to_owned(), succeeded + failed, self.rows());
            self.runtime.spawn(async move {
                log::warn!(
                    target: LOG_TARGET,
                    "run {run_id} was left: {over} of {rows} machines have their outcomes, and what runs goes on at the \
                     service. client.resume({run_id:?}) goes on with the run, and its cancel() ends it"
                );
            });
        }
    }

    /// Every row has its outcome.
    pub fn is_over(&self) -> bool {
        let counts = self.counts();
        counts.succeeded + counts.failed >= self.rows()
    }

    /// This process goes on with the run, or has come to its end.
    pub fn is_active(&self) -> bool {
        matches!(*self.shared.worker_state.borrow(), WorkerState::Active)
    }

    fn closed_error(&self) -> Error {
        let message = format!("the fleet was closed before run {} was over", self.run_id());
        Error::invalid(message).with_hint(
            "go on with it by resume(run_id), from any process that shares the state store",
        )
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.detach();
    }
}

impl ResultLoader {
    /// What the session of a row left; none where it did not run to its end.
    pub async fn load(&self, row: u32) -> Result<Option<SessionResult>> {
        let Some(json) = self.quota.store().run_store().get_result(&self.run_id, row).await? else {
            return Ok(None);
        };
        let broken =
            |error| Error::new(Kind::State, format!("the result of row {row} is broken: {error}"));
        serde_json::from_str(&json).map(Some).map_err(broken)
    }
}
