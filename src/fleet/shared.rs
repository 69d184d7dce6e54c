//! What the parts of one run share in this process.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::outcome::Outcome;
use super::stage::Counts;
use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::session::{SessionResult, Sessions};
use crate::state::run_store::{FinishedRow, RowState, RunHeader, RunStore, StopRequest};
use crate::trace::LOG_TARGET;

/// Seconds between two reads of what other workers wrote.
pub const POLL_INTERVAL: f64 = 1.0;
/// Tries of a call that the service answers with errors.
pub const MAX_ATTEMPTS: u32 = 5;

/// Whether this process works on the run.
#[derive(Clone, Debug)]
pub enum WorkerState {
    Active,
    /// It has detached: the run can be resumed.
    Detached,
    Failed(Error),
}

pub struct Shared {
    pub sessions: Arc<Sessions>,
    pub quota: Arc<Quota>,
    pub header: RunHeader,
    pub worker: u64,
    pub counts: Mutex<Counts>,
    pub stop: Mutex<Option<StopRequest>>,
    /// Also notifies its receivers of each new outcome.
    pub worker_state: watch::Sender<WorkerState>,
}

impl Shared {
    pub fn run_store(&self) -> &dyn RunStore {
        self.quota.store().run_store()
    }

    pub fn now(&self) -> f64 {
        self.sessions.pipeline.clock.now()
    }

    /// Returns the correlation id of a row's session, after `parked` sessions that were parked.
    pub fn correlation_id(&self, parked: u32) -> String {
        // The id does not contain the row: two rows that name one machine must find the same
        // session. It contains a number: the lookup must not find an earlier, parked session.
        format!("{}/{}", self.header.run_id, parked + 1)
    }

    /// Returns an outcome that has no reason yet.
    pub fn new_outcome(&self, state: &RowState) -> Outcome {
        Outcome {
            row: state.row,
            machine: state.machine.clone(),
            machine_id: state.machine_id.clone(),
            tenant_id: self.sessions.pipeline.tokens().tenant_id(),
            action_id: None,
            correlation_id: state
                .machine_id
                .as_ref()
                .map(|_| self.correlation_id(state.progress.parked)),
            status: None,
            reason: String::new(),
            message: String::new(),
            error: None,
            started: state.progress.first_submit,
            ended: self.now(),
        }
    }

    /// Returns the outcome of a row that the stopped run did not reach.
    pub fn not_submitted_outcome(&self, state: &RowState) -> Outcome {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = stop.map_or_else(|| "no comment".to_owned(), |stop| stop.comment);
        let mut outcome = self.new_outcome(state);
        outcome.set_reason(
            "not_submitted",
            format!("the run was cancelled before it submitted to {}: {why}", state.machine),
        );
        outcome
    }

    /// Stores an outcome durably, together with its result. Returns whether it is the row's first.
    pub async fn finish(&self, outcome: &Outcome, result: Option<&SessionResult>) -> Result<bool> {
        let to_state_error = |error: serde_json::Error| {
            Error::new(Kind::State, format!("an outcome could not be written as JSON: {error}"))
        };
        let finished = FinishedRow {
            row: outcome.row,
            outcome: serde_json::to_string(outcome).map_err(to_state_error)?,
            result: result.map(serde_json::to_string).transpose().map_err(to_state_error)?,
        };
        self.run_store().finish_row(&self.header.run_id, finished).await
    }

    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees this worker's rows now, so that others need not wait until its lease ends.
    pub async fn release_rows(&self) {
        let released =
            async { self.run_store().heartbeat(&self.header.run_id, self.worker, 0.0).await };
        if let Err(error) = released.await {
            log::debug!(
                target: LOG_TARGET,
                "could not release the rows of run {}: {error}",
                self.header.run_id
            );
        }
    }
}

/// Returns whether an error concerns the whole run: the state store fails, or nobody can sign in.
/// Such an error must not become the outcome of a row.
pub fn is_run_level(error: &Error) -> bool {
    matches!(error.kind, Kind::State | Kind::Authentication | Kind::Caller)
}
