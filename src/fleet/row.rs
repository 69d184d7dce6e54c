//! The task of one row: it submits, waits for the session to end, and fetches the results.

mod fetching;
mod parking;

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};

use super::outcome::Outcome;
use super::protocol::{ControlRequest, RowEvent, RowExit};
use super::shared::{Shared, is_run_level};
use super::until::{self, was_not_reached};
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::pauses;
use crate::session::{Session, SessionResult, SubmitOptions, SubmitRequest, UpdateCallback};
use crate::state::run_store::{RowProgress, RowState, Unreached};
use crate::state::store::IntentKey;
use crate::trace::LOG_TARGET;

/// A row that this process is working on.
pub struct RowTask {
    pub shared: Arc<Shared>,
    pub state: RowState,
    pub control: watch::Receiver<ControlRequest>,
    pub events: UnboundedSender<(u32, RowEvent)>,
    /// Since when the sessions of the row have been Pending, for `cancel_pending_after`.
    pub pending_since: f64,
}

impl RowTask {
    pub async fn run(mut self) -> RowExit {
        let session = match self.submit().await {
            Ok(Some(session)) => session,
            Ok(None) => return self.not_submitted_outcome(),
            Err(error) => match self.find_after_refusal(&error).await {
                Ok(Some(session)) => session,
                Ok(None) => return self.handle_submit_error(error),
                Err(lookup_error) => return self.handle_submit_error(lookup_error),
            },
        };
        match self.run_session(&session).await {
            Ok(ended) => ended,
            Err(error) => RowExit::RunFailed(error),
        }
    }

    /// Returns none if the run was stopped before anything was submitted.
    async fn submit(&mut self) -> Result<Option<Session>> {
        if matches!(*self.control.borrow(), ControlRequest::Stop(_)) {
            // A worker before this one may have submitted, and its session needs an outcome.
            return self.find_started_session().await;
        }
        let shared = self.shared.clone();
        let header = &shared.header;
        let commands =
            header.commands.get(self.state.commands as usize).cloned().unwrap_or_default();
        let submit = SubmitRequest {
            machine_id: self.state.machine_id.clone().unwrap_or_default(),
            commands,
            comment: header.comment.clone(),
            correlation_id: Some(shared.correlation_id(self.state.progress.parked)),
            // The scheduler waits instead, and submits to other machines during that time.
            wait_if_busy: false,
        };
        match self.queue_and_submit(submit).await {
            Some(submitted) => submitted.map(Some),
            None => self.find_started_session().await,
        }
    }

    /// Returns none if the run was stopped while the submit was in the admission queue.
    async fn queue_and_submit(&mut self, submit: SubmitRequest) -> Option<Result<Session>> {
        let admitted = Arc::new(Notify::new());
        let options = SubmitOptions {
            new_correlation_id: self.shared.header.generated,
            on_admitted: Some(admitted.clone()),
        };
        let submitting = self.shared.sessions.submit_with_options(submit, None, options);
        tokio::pin!(submitting);
        // Once admitted, the submit is not dropped any more: its POST may have been sent.
        let mut is_queued = true;
        loop {
            tokio::select! {
                biased;
                submitted = &mut submitting => return Some(submitted),
                () = admitted.notified(), if is_queued => {
                    is_queued = false;
                    let _ = self.events.send((self.state.row, RowEvent::Admitted));
                }
                () = wait_for_stop(&mut self.control), if is_queued => return None,
            }
        }
    }

    /// Finds the session that a refused submit started: a gateway may have sent the POST twice, and
    /// the refusal may be the answer to the second copy.
    ///
    /// A submit that is retried looks for it anyway, so only final errors are looked up here.
    async fn find_after_refusal(&self, error: &Error) -> Result<Option<Session>> {
        if error.retryable || is_run_level(error) || error.status.is_none() {
            return Ok(None);
        }
        self.find_started_session().await
    }

    /// Finds the session that was submitted before the run was stopped.
    async fn find_started_session(&self) -> Result<Option<Session>> {
        let Some(machine_id) = self.state.machine_id.clone() else { return Ok(None) };
        let correlation_id = self.shared.correlation_id(self.state.progress.parked);
        self.shared.sessions.find_until_settled(&IntentKey { machine_id, correlation_id }).await
    }

    async fn run_session(&mut self, session: &Session) -> Result<RowExit> {
        let now = self.shared.now();
        let is_resumed = self.state.progress.first_submit.is_some();
        self.pending_since = match (self.state.progress.first_submit, &self.state.unreached) {
            (Some(first_submit), None) => first_submit,
            // Days may have passed since the first submit.
            _ => now,
        };
        if !is_resumed {
            self.save_progress(RowProgress { first_submit: Some(now), ..self.state.progress })
                .await?;
        }
        // Sent even if the session is running already: `Running` follows from its first status.
        self.send_event(RowEvent::Pending);
        let action = match self.wait_for_end(session).await? {
            Ok(action) => action,
            Err(error) => return Ok(self.handle_session_error(session, error)),
        };
        if self.state.progress.parking && self.was_parked(session, &action).await {
            return self.park(&action).await;
        }
        Ok(match self.fetch(session).await {
            Ok(result) => self.complete(result, is_resumed).await,
            Err(error) => self.handle_session_error(session, error),
        })
    }

    /// Waits until the action ends, and handles control requests during that time. The inner error
    /// concerns the session, the outer error the run.
    async fn wait_for_end(&mut self, session: &Session) -> Result<Result<MachineAction>> {
        let clock = self.shared.sessions.pipeline.clock;
        let limits = self.shared.sessions.pipeline.options.limits.clone();
        // Longer than any session can last, even with ten commands.
        let give_up =
            clock.now() + limits.queue_time + limits.settle_time + limits.script_time * 10.0;
        let (events, row) = (self.events.clone(), self.state.row);
        let on_update: UpdateCallback = Arc::new(move |action: &MachineAction| {
            if action.status != "Pending" {
                let _ = events.send((row, RowEvent::Running));
            }
        });
        loop {
            let left = self.remaining_pending_time();
            let waiting = session.wait(None, Some(on_update.clone()), left);
            tokio::select! {
                biased;
                ended = waiting => match ended {
                    Err(error) if error.retryable && clock.now() < give_up => {
                        log::warn!(
                            target: LOG_TARGET,
                            "could not poll session {}: {error}",
                            session.id
                        );
                        clock.sleep(pauses::FOLLOW_SESSION.seconds(&limits)).await;
                    }
                    ended => return Ok(ended),
                },
                request = next_control_request(&mut self.control) => {
                    self.handle_control_request(request, session).await?;
                }
            }
        }
    }

    async fn save_progress(&mut self, progress: RowProgress) -> Result<()> {
        self.state.progress = progress;
        let shared = self.shared.clone();
        shared.run_store().record_progress(&shared.header.run_id, self.state.row, progress).await
    }

    /// Returns how many seconds the session may still be Pending, if the caller set a limit.
    fn remaining_pending_time(&self) -> Option<f64> {
        let waited = self.shared.now() - self.pending_since;
        // The limit counts from the first session of the row, and covers its parked sessions.
        self.shared.header.cancel_pending_after.map(|seconds| (seconds - waited).max(0.0))
    }

    fn send_event(&self, event: RowEvent) {
        // The receiver is gone if this process has detached from the run.
        let _ = self.events.send((self.state.row, event));
    }

    fn new_outcome(&self) -> Outcome {
        self.shared.new_outcome(&self.state)
    }

    async fn complete(&self, result: SessionResult, is_resumed: bool) -> RowExit {
        let mut outcome = self.new_outcome();
        self.shared.complete(&mut outcome, &result, is_resumed).await;
        if was_not_reached(&result.action) && self.shared.may_try_again() {
            let unreached = self.unreached(&result.action);
            return RowExit::Unreached(Box::new((outcome, Some(result), unreached)));
        }
        RowExit::Done(Box::new(outcome), Some(Box::new(result)))
    }

    fn unreached(&self, action: &MachineAction) -> Unreached {
        let (parked, now) = (self.state.progress.parked, self.shared.now());
        until::unreached(action, parked, &self.state.machine, now)
    }

    fn not_submitted_outcome(&self) -> RowExit {
        RowExit::Done(Box::new(self.shared.not_submitted_outcome(&self.state)), None)
    }

    fn handle_submit_error(&self, error: Error) -> RowExit {
        if error.retryable {
            return RowExit::Retry(error);
        }
        if is_run_level(&error) {
            return RowExit::RunFailed(error);
        }
        let mut outcome = self.new_outcome();
        outcome.set_error(error);
        RowExit::Done(Box::new(outcome), None)
    }

    /// Ends the row after an error that leaves the end of its session unknown.
    fn handle_session_error(&self, session: &Session, error: Error) -> RowExit {
        if is_run_level(&error) {
            return RowExit::RunFailed(error);
        }
        let mut outcome = self.new_outcome();
        outcome.action_id = Some(session.id.clone());
        if let Some(action) = session.action() {
            outcome.set_name(action.computer_dns_name.as_deref());
            outcome.status = Some(action.status);
        }
        let permitted = error.kind != Kind::PermissionDenied;
        outcome.set_error(error);
        // `machine` and `busy` mean that nothing was submitted.
        if permitted {
            outcome.reason = "error".to_owned();
        }
        RowExit::Done(Box::new(outcome), None)
    }
}

async fn next_control_request(control: &mut watch::Receiver<ControlRequest>) -> ControlRequest {
    match control.changed().await {
        Ok(()) => control.borrow_and_update().clone(),
        Err(_) => std::future::pending().await,
    }
}

async fn wait_for_stop(control: &mut watch::Receiver<ControlRequest>) {
    let stopped =
        control.wait_for(|request| matches!(request, ControlRequest::Stop(_))).await.is_ok();
    if !stopped {
        std::future::pending::<()>().await;
    }
    // Only seen so far: `wait_for_end` acts on it, if it turns out that a session was started.
    control.mark_changed();
}
