//! What the parts of one run in this process share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::outcome::Outcome;
use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::session::Sessions;
use crate::state::run_store::{FinishedRow, RowState, RunHeader, RunStore};
use crate::trace::LOG_TARGET;

/// How many rows stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub waiting: u32,
    pub pending: u32,
    pub running: u32,
    pub succeeded: u32,
    pub failed: u32,
}

/// Whether this process is at the run.
#[derive(Clone, Debug)]
pub enum WorkerState {
    Active,
    /// It left: the run can be resumed.
    Detached,
    Failed(Error),
}

pub struct Shared {
    pub sessions: Arc<Sessions>,
    pub quota: Arc<Quota>,
    pub head: RunHeader,
    pub worker: u64,
    pub counts: Mutex<Counts>,
    pub stop: Mutex<Option<crate::state::run_store::StopRequest>>,
    /// Changes with every outcome, too.
    pub worker_state: watch::Sender<WorkerState>,
}

impl Shared {
    pub fn run_store(&self) -> &dyn RunStore {
        self.quota.store().run_store()
    }

    pub fn now(&self) -> f64 {
        self.sessions.pipeline.clock.now()
    }

    /// What a row's sessions are submitted with. It is the machine's within the run, so that one that two rows name runs
    /// once even so; a session that was set aside has a successor of its own.
    pub fn correlation_id(&self, parked: u32) -> String {
        format!("{}/{}", self.head.run_id, parked + 1)
    }

    /// An outcome that is yet to be told.
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

    pub fn not_submitted_outcome(&self, state: &RowState) -> Outcome {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = stop.map_or_else(|| "no comment".to_owned(), |stop| stop.comment);
        let mut outcome = self.new_outcome(state);
        outcome.set_reason(
            "not_submitted",
            format!("nothing was submitted to {}: {why}", state.machine),
        );
        outcome
    }

    /// Notes an outcome durably, with what belongs to it.
    pub async fn finish(
        &self,
        outcome: &Outcome,
        result: Option<&crate::session::SessionResult>,
    ) -> Result<bool> {
        let json = |error: serde_json::Error| {
            Error::new(Kind::State, format!("an outcome could not be noted: {error}"))
        };
        let finished = FinishedRow {
            row: outcome.row,
            outcome: serde_json::to_string(outcome).map_err(json)?,
            result: result.map(serde_json::to_string).transpose().map_err(json)?,
        };
        self.run_store().finish_row(&self.head.run_id, finished).await
    }

    pub fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This worker's rows are free at once, instead of when its lease is over.
    pub async fn release_rows(&self) {
        let left = async { self.run_store().heartbeat(&self.head.run_id, self.worker, 0.0).await };
        if let Err(error) = left.await {
            log::debug!(target: LOG_TARGET, "could not note that run {} was left: {error}", self.head.run_id);
        }
    }
}

/// No row is to pay for it: the store fails, or nobody can sign in.
pub fn is_run_level(error: &Error) -> bool {
    matches!(error.kind, Kind::State | Kind::Authentication | Kind::Caller)
}

impl Counts {
    pub fn to_map(self) -> BTreeMap<&'static str, u32> {
        BTreeMap::from([
            ("waiting", self.waiting),
            ("pending", self.pending),
            ("running", self.running),
            ("succeeded", self.succeeded),
            ("failed", self.failed),
        ])
    }
}
