//! Handling of control requests: stopping a row, and parking it. A parked row frees its slot while
//! its session is Pending, and is submitted again later.

use super::RowTask;
use crate::error::Result;
use crate::fleet::protocol::{ControlRequest, RowEvent, RowExit};
use crate::fleet::shared::MAX_ATTEMPTS;
use crate::fleet::until::is_unstarted;
use crate::model::MachineAction;
use crate::pauses;
use crate::session::Session;
use crate::state::run_store::RowProgress;
use crate::trace::LOG_TARGET;

/// How the comment of a parking cancel starts. [`RowTask::was_parked`] recognizes it.
const PARK_COMMENT: &str =
    "parked by mde-live-response: Pending while other machines wait; submitted again later, run";

impl RowTask {
    pub(super) async fn handle_control_request(
        &mut self,
        request: ControlRequest,
        session: &Session,
    ) -> Result<()> {
        let is_stop = matches!(request, ControlRequest::Stop(_));
        let comment = match request {
            ControlRequest::Continue | ControlRequest::Stop(None) => return Ok(()),
            ControlRequest::Stop(Some(comment)) => comment,
            ControlRequest::Park => {
                // The cached status may be half a minute old, and a running session must not be
                // cancelled.
                match session.refresh(0.0).await {
                    Ok(action) if action.status == "Pending" && !action.has_started() => {}
                    _ => {
                        self.send_event(RowEvent::ParkFailed);
                        return Ok(());
                    }
                }
                // Stored before the cancel: if this process dies in between, the next worker must
                // know that the cancellation was ours.
                self.save_progress(RowProgress { parking: true, ..self.state.progress }).await?;
                format!("{PARK_COMMENT} {}", self.shared.header.run_id)
            }
        };
        let limits = &self.shared.sessions.pipeline.options.limits;
        let mut is_retryable = true;
        for _ in 0..MAX_ATTEMPTS {
            let Err(error) = session.cancel(&comment).await else { return Ok(()) };
            log::warn!(target: LOG_TARGET, "could not cancel session {}: {error}", session.id);
            is_retryable = error.retryable;
            if !is_retryable {
                break;
            }
            self.shared.sessions.pipeline.clock.sleep(pauses::CANCEL_PARKED.seconds(limits)).await;
        }
        if is_stop && is_retryable {
            // Tried again until the session has ended.
            self.control.mark_changed();
        }
        self.send_event(RowEvent::ParkFailed);
        Ok(())
    }

    /// Returns whether this run cancelled the action to park it, and no command has started.
    pub(super) async fn was_parked(&self, session: &Session, action: &MachineAction) -> bool {
        // The first bodies of an action may have no commands yet (docs/service.md, section 18).
        let filled =
            if action.commands.is_empty() { session.refresh(0.0).await.ok() } else { None };
        let action = filled.as_ref().unwrap_or(action);
        // The service may show the cancel before its comment.
        let ours = action
            .cancellation_comment
            .as_deref()
            .is_none_or(|comment| comment.starts_with(PARK_COMMENT));
        action.status == "Cancelled" && ours && is_unstarted(action)
    }

    /// Puts the row back into the queue, or ends it if its time is over.
    pub(super) async fn park(&mut self, action: &MachineAction) -> Result<RowExit> {
        let parked = self.state.progress.parked + 1;
        self.save_progress(RowProgress { parked, parking: false, ..self.state.progress }).await?;
        let limits = &self.shared.sessions.pipeline.options.limits;
        let patience = self
            .shared
            .header
            .cancel_pending_after
            .unwrap_or(limits.queue_time)
            .min(limits.queue_time);
        let waited = self.shared.now() - self.state.progress.first_submit.unwrap_or_default();
        // A machine that was not reached before waits until it is seen again.
        let was_unreached = self.state.unreached.is_some() && self.shared.may_try_again();
        // At least two sessions: the machine may have been offline only during the first one.
        if !was_unreached && (waited < patience || parked < 2) {
            return Ok(RowExit::Parked);
        }
        let mut outcome = self.new_outcome();
        outcome.status = Some("Cancelled".to_owned());
        let message = format!(
            "{} did not pick up any of {parked} sessions within {waited:.0} s",
            self.state.machine
        );
        outcome.set_reason("timed_out", message);
        if self.shared.may_try_again() {
            let unreached = self.unreached(action);
            return Ok(RowExit::Unreached(Box::new((outcome, None, unreached))));
        }
        Ok(RowExit::Done(Box::new(outcome), None))
    }
}
