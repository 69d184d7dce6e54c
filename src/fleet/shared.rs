//! What the parts of one run share in this process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::watch;

use super::machine_names::MachineNames;
use super::outcome::Outcome;
use super::stage::Counts;
use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::session::{SaveTo, SessionResult, Sessions, manifest};
use crate::state::run_store::{
    FinishedRow, NumberedOutcome, RowState, RunHeader, RunStore, StopRequest, Unreached,
};
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
    /// Until when machines that were not reached are tried again.
    pub until: Mutex<Option<f64>>,
    /// When this process lists the machines next, for those that were not reached.
    pub next_listing: Mutex<Option<f64>>,
    /// Also notifies its receivers of each new outcome.
    pub worker_state: watch::Sender<WorkerState>,
    /// The number of outcomes that the run had when this process began to work on it.
    pub known_outcomes: OnceLock<u64>,
    pub names: Arc<MachineNames>,
    /// The rows whose results this process has tried to fetch again.
    pub refetched: Mutex<BTreeSet<u32>>,
}

impl Shared {
    pub fn run_store(&self) -> &dyn RunStore {
        self.quota.store().run_store()
    }

    pub fn now(&self) -> f64 {
        self.sessions.pipeline.clock.now()
    }

    /// Returns where the results of the run are saved.
    pub fn save_to(&self) -> Option<SaveTo> {
        let folder = self.header.save_to.as_ref()?.into();
        Some(SaveTo { folder, transcripts: self.header.save_transcripts })
    }

    /// Returns whether a machine that was not reached is tried again when it was seen again.
    pub fn may_try_again(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| self.now() < until)
            && self.stop.lock().unwrap_or_else(PoisonError::into_inner).is_none()
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
            computer_dns_name: self.names.get(state),
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
        let machine = outcome.label();
        let message = format!("the run was cancelled before it submitted to {machine}: {why}");
        outcome.set_reason("not_submitted", message);
        outcome
    }

    /// Takes the outcome from the result of the session, and adds its files to the manifest.
    pub async fn complete(&self, outcome: &mut Outcome, result: &SessionResult, is_resumed: bool) {
        outcome.set_result(result);
        let Some(save_to) = self.save_to() else { return };
        let (run_id, now) = (Some(self.header.run_id.as_str()), self.now());
        let appending = manifest::append_session(&save_to, run_id, result, is_resumed, now);
        if let Err(error) = appending.await {
            log::warn!(
                target: LOG_TARGET,
                "the files of {} are saved, but missing in the manifest: {error}",
                outcome.machine
            );
            outcome.set_error(error);
            outcome.reason = "fetch".to_owned();
        }
    }

    /// Stores an outcome durably, together with its result. Returns whether it is the row's first.
    pub async fn finish(&self, outcome: &Outcome, result: Option<&SessionResult>) -> Result<bool> {
        let run_id = &self.header.run_id;
        let is_first = self.run_store().finish_row(run_id, finished_row(outcome, result)?).await?;
        if is_first {
            outcome.log(run_id);
        }
        Ok(is_first)
    }

    /// Stores what the outcome of a row is if its machine is never reached.
    pub async fn record_unreached(
        &self,
        outcome: &Outcome,
        result: Option<&SessionResult>,
        unreached: Unreached,
    ) -> Result<()> {
        let last = finished_row(outcome, result)?;
        self.run_store().record_unreached(&self.header.run_id, unreached, last).await
    }

    pub fn next_listing(&self) -> MutexGuard<'_, Option<f64>> {
        self.next_listing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores an outcome in place of `before`. Returns false if the row has another one by now.
    pub async fn replace(
        &self,
        before: NumberedOutcome,
        outcome: &Outcome,
        result: &SessionResult,
    ) -> Result<bool> {
        let run_id = &self.header.run_id;
        let finished = finished_row(outcome, Some(result))?;
        let is_replaced = self.run_store().replace_outcome(run_id, before, finished).await?;
        if is_replaced {
            outcome.log(run_id);
        }
        Ok(is_replaced)
    }

    /// Returns whether this process fetches the results of a row again: they could not be fetched
    /// before it began to work on the run.
    pub fn needs_refetch(&self, number: u64, outcome: &Outcome) -> bool {
        let may_be_there = outcome.reason == "fetch" && outcome.action_id.is_some();
        let is_old = self.known_outcomes.get().is_none_or(|known| number <= *known);
        may_be_there && is_old && !self.is_refetched(outcome.row)
    }

    pub fn is_refetched(&self, row: u32) -> bool {
        self.refetched.lock().unwrap_or_else(PoisonError::into_inner).contains(&row)
    }

    /// Records that the results of a row were fetched again, or cannot be. Wakes the loops over the
    /// outcomes, which have waited for that.
    pub fn mark_refetched(&self, row: u32) {
        self.refetched.lock().unwrap_or_else(PoisonError::into_inner).insert(row);
        self.worker_state.send_modify(|_| {});
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

fn finished_row(outcome: &Outcome, result: Option<&SessionResult>) -> Result<FinishedRow> {
    let to_state_error = |error: serde_json::Error| {
        Error::new(Kind::State, format!("an outcome could not be written as JSON: {error}"))
    };
    Ok(FinishedRow {
        row: outcome.row,
        outcome: serde_json::to_string(outcome).map_err(to_state_error)?,
        result: result.map(serde_json::to_string).transpose().map_err(to_state_error)?,
    })
}

/// Returns whether an error concerns the whole run: the state store fails, or nobody can sign in.
/// Such an error must not become the outcome of a row.
pub fn is_run_level(error: &Error) -> bool {
    matches!(error.kind, Kind::State | Kind::Authentication | Kind::Caller)
}
