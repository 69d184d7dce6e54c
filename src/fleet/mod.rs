//! Runs commands on many machines: one run, with exactly one outcome for each row.
//!
//! 1. `start` writes the run into the run store, from which any process can resume it.
//! 2. `worker` keeps this process working on the run: heartbeats, and retries after an `outage`.
//! 3. `scheduler` claims rows, starts a `row` task for each, and parks sessions that stay Pending.
//! 4. `resolver` finds the machine of each row, and `priority` orders the machines.
//! 5. `row` takes one row from its submit to its `outcome`.
//! 6. With `until`, a row whose machine was not reached waits until `sightings` shows that the
//!    service has seen the machine again.
//! 7. [`Fleet`] yields each outcome when it is known, including the outcomes of other workers.

mod machine_list;
mod machine_names;
mod outage;
mod outcome;
mod priority;
mod protocol;
mod refetch;
mod resolver;
mod row;
mod row_table;
mod scheduler;
mod shared;
mod sightings;
mod stage;
mod start;
mod until;
mod worker;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use outage::Outage;
pub use outcome::Outcome;
pub use stage::Counts;
pub use start::RunSpec;
pub use until::Until;

use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::session::SessionResult;
use crate::state::run_store::{NumberedOutcome, StopRequest};
use crate::trace::LOG_TARGET;
use shared::{POLL_INTERVAL, Shared, WorkerState};

/// Outcomes in one read of the run store.
const PAGE: u32 = 64;

/// A run over many machines, as this process sees it. Dropping it detaches from the run.
pub struct Fleet {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
    runtime: Handle,
}

/// The position of a loop over the outcomes.
#[derive(Debug, Default)]
pub struct Cursor {
    number: u64,
    buffered: VecDeque<Outcome>,
    /// A bit for each row whose outcome was buffered. A row can get a newer outcome with another
    /// number, when its first one was withdrawn.
    seen: Vec<u64>,
    seen_count: u32,
    /// The numbers and rows of outcomes whose results are being fetched again.
    deferred: Vec<(u64, u32)>,
}

/// Loads the results of a run while its state store is open.
#[derive(Clone)]
pub struct ResultLoader {
    quota: Arc<Quota>,
    run_id: Arc<str>,
}

impl Fleet {
    pub fn run_id(&self) -> &str {
        &self.shared.header.run_id
    }

    /// Returns the number of rows, which is also the number of outcomes in the end.
    pub fn rows(&self) -> u32 {
        self.shared.header.rows
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    pub fn results(&self) -> ResultLoader {
        ResultLoader { quota: self.shared.quota.clone(), run_id: self.run_id().into() }
    }

    /// Waits for the next outcome after those that `cursor` has seen. Returns none after the last.
    pub async fn next(&self, cursor: &mut Cursor) -> Result<Option<Outcome>> {
        let mut changes = self.shared.worker_state.subscribe();
        // Then it is known which results are fetched again.
        let has_read_run = |state: &WorkerState| {
            self.shared.known_outcomes.get().is_some() || !matches!(state, WorkerState::Active)
        };
        let _ = changes.wait_for(has_read_run).await;
        let mut outage = Outage::default();
        loop {
            if let Some(outcome) = cursor.buffered.pop_front() {
                return Ok(Some(outcome));
            }
            // Read before the run store: outcomes that this worker wrote just before it failed are
            // still yielded before its error is.
            let worker_state = changes.borrow_and_update().clone();
            let (after, count) = cursor.next_page(&self.shared);
            let reading = self.shared.run_store().list_outcomes(self.run_id(), after, count);
            let page = match reading.await {
                Err(error)
                    if matches!(worker_state, WorkerState::Active)
                        && outage.wait_for_retry(&self.shared, &error).await =>
                {
                    continue;
                }
                page => page?,
            };
            cursor.buffer(&page, &self.shared)?;
            if !cursor.buffered.is_empty() {
                continue;
            }
            if cursor.seen_count >= self.rows() {
                return Ok(None);
            }
            match worker_state {
                WorkerState::Failed(error) => return Err(error),
                WorkerState::Detached => return Err(self.closed_error()),
                WorkerState::Active => {}
            }
            // The timer is for the outcomes of other workers, which cannot notify this process.
            tokio::select! {
                _ = changes.changed() => {}
                () = self.shared.sessions.pipeline.clock.sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Waits until every row has its outcome, and returns all of them.
    pub async fn outcomes(&self) -> Result<Vec<Outcome>> {
        let (mut cursor, mut all) = (Cursor::default(), Vec::new());
        while let Some(outcome) = self.next(&mut cursor).await? {
            all.push(outcome);
        }
        Ok(all)
    }

    /// Stops the run in every process: nothing more is submitted. With `running`, sessions that run
    /// are cancelled too.
    pub async fn cancel(&self, comment: &str, running: bool) -> Result<()> {
        if comment.trim().is_empty() {
            return Err(Error::invalid("a cancel needs a comment")
                .with_hint("give the reason: it is stored with the outcomes"));
        }
        self.shared
            .run_store()
            .request_stop(self.run_id(), StopRequest { comment: comment.to_owned(), running })
            .await
    }

    /// Stops working on the run in this process. Running sessions continue at the service. Returns
    /// whether this process was working on an unfinished run.
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
        // The aborted task cannot release the rows itself.
        let shared = self.shared.clone();
        self.runtime.spawn(async move { shared.release_rows().await });
        was_active && !self.is_over()
    }

    /// Detaches, and logs how to resume the run.
    pub fn detach_and_warn(&self) {
        if self.detach() {
            let Counts { succeeded, failed, .. } = self.counts();
            let (run_id, over, rows) = (self.run_id().to_owned(), succeeded + failed, self.rows());
            self.runtime.spawn(async move {
                log::warn!(
                    target: LOG_TARGET,
                    "run {run_id} was detached: {over} of {rows} machines have their outcomes, and \
                     running sessions continue at the service. client.resume({run_id:?}) continues \
                     the run; cancel() on the resumed run ends it"
                );
            });
        }
    }

    /// Returns whether every row has its outcome.
    pub fn is_over(&self) -> bool {
        let counts = self.counts();
        counts.succeeded + counts.failed >= self.rows()
    }

    /// Returns whether this process works on the run, or has finished it.
    pub fn is_active(&self) -> bool {
        matches!(*self.shared.worker_state.borrow(), WorkerState::Active)
    }

    fn closed_error(&self) -> Error {
        let message = format!("the fleet was closed before run {} ended", self.run_id());
        Error::invalid(message).with_hint(
            "continue the run with resume(run_id), in any process that shares the state store",
        )
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.detach();
    }
}

impl Cursor {
    /// Returns which outcomes to read next: those after a number, and how many.
    fn next_page(&self, shared: &Shared) -> (u64, u32) {
        match self.deferred.iter().find(|(_, row)| shared.is_refetched(*row)) {
            Some((number, _)) => (number.saturating_sub(1), 1),
            None => (self.number, PAGE),
        }
    }

    /// Takes the next outcomes from the run store. Those whose results are being fetched again come
    /// later.
    fn buffer(&mut self, page: &[NumberedOutcome], shared: &Shared) -> Result<()> {
        for numbered in page {
            let outcome = Outcome::from_store(numbered)?;
            self.number = self.number.max(numbered.number);
            if shared.needs_refetch(numbered.number, &outcome) {
                self.deferred.push((numbered.number, numbered.row));
                continue;
            }
            self.deferred.retain(|(number, _)| *number != numbered.number);
            if self.mark_seen(numbered.row) {
                self.buffered.push_back(outcome);
            }
        }
        Ok(())
    }

    /// Returns whether no outcome of the row was seen before.
    fn mark_seen(&mut self, row: u32) -> bool {
        let (index, bit) = (row as usize / 64, 1 << (row % 64));
        if self.seen.len() <= index {
            self.seen.resize(index + 1, 0);
        }
        let Some(bits) = self.seen.get_mut(index) else { return false };
        let is_new = *bits & bit == 0;
        *bits |= bit;
        self.seen_count += u32::from(is_new);
        is_new
    }
}

impl ResultLoader {
    /// Loads the result of a row's session. Returns none if no session of the row ended.
    pub async fn load(&self, row: u32) -> Result<Option<SessionResult>> {
        let Some(json) = self.quota.store().run_store().get_result(&self.run_id, row).await? else {
            return Ok(None);
        };
        let to_state_error = |error| {
            Error::new(Kind::State, format!("the stored result of row {row} is not valid: {error}"))
        };
        serde_json::from_str(&json).map(Some).map_err(to_state_error)
    }
}
