//! What is wished of a row under way: to end, or to give up its slot while it is Pending, and to be submitted again later.

use super::{ControlRequest, MAX_ATTEMPTS, RowEvent, RowExit, RowTask};
use crate::error::Result;
use crate::model::MachineAction;
use crate::pauses;
use crate::session::Session;
use crate::state::run_store::RowProgress;
use crate::trace::LOG_TARGET;

/// What the fleet's own cancel says, by which it is known again.
const PARKED: &str =
    "set aside by mde-live-response while others wait: Pending; submitted again later, run";

impl RowTask {
    pub(super) async fn handle_control_request(
        &mut self,
        request: ControlRequest,
        session: &Session,
    ) -> Result<()> {
        let comment = match request {
            ControlRequest::Continue | ControlRequest::Stop(None) => return Ok(()),
            ControlRequest::Stop(Some(comment)) => comment,
            ControlRequest::Park => {
                // What was last seen of it may be half a minute old.
                match session.refresh(0.0).await {
                    Ok(action) if action.status == "Pending" && !action.has_started() => {}
                    _ => {
                        self.send_event(RowEvent::ParkFailed);
                        return Ok(());
                    }
                }
                // Known to be ours before the service can show it.
                self.save_progress(RowProgress { parking: true, ..self.state.progress }).await?;
                format!("{PARKED} {}", self.shared.head.run_id)
            }
        };
        let limits = &self.shared.sessions.pipeline.options.limits;
        for _ in 0..MAX_ATTEMPTS {
            let Err(error) = session.cancel(&comment).await else { return Ok(()) };
            log::warn!(target: LOG_TARGET, "could not cancel session {}: {error}", session.id);
            if !error.retryable {
                break;
            }
            self.shared.sessions.pipeline.clock.sleep(pauses::CANCEL_PARKED.seconds(limits)).await;
        }
        self.send_event(RowEvent::ParkFailed);
        Ok(())
    }

    /// Whether the action was cancelled by us, to make room, and proves that nothing of it ran.
    pub(super) async fn was_parked(&self, session: &Session, action: &MachineAction) -> bool {
        let filled =
            if action.commands.is_empty() { session.refresh(0.0).await.ok() } else { None };
        let action = filled.as_ref().unwrap_or(action);
        let waiting = ["Created", "Submitted", "PendingResource"];
        let unstarted = |status: &str| waiting.contains(&status);
        let ours = action
            .cancellation_comment
            .as_deref()
            .is_none_or(|comment| comment.starts_with(PARKED));
        action.status == "Cancelled"
            && ours
            && !action.has_started()
            && !action.commands.is_empty()
            && action.commands.iter().all(|command| unstarted(&command.status))
    }

    /// Submitted again later, unless the queue time is over.
    pub(super) async fn park(&mut self) -> Result<RowExit> {
        let parked = self.state.progress.parked + 1;
        self.save_progress(RowProgress { parked, parking: false, ..self.state.progress }).await?;
        let limits = &self.shared.sessions.pipeline.options.limits;
        let patience = self
            .shared
            .head
            .cancel_pending_after
            .unwrap_or(limits.queue_time)
            .min(limits.queue_time);
        let waited = self.shared.now() - self.state.progress.first_submit.unwrap_or_default();
        if waited < patience || parked < 2 {
            return Ok(RowExit::Parked);
        }
        let mut outcome = self.new_outcome();
        outcome.status = Some("Cancelled".to_owned());
        let message = format!(
            "{} was not reached in {parked} sessions over {waited:.0} s",
            self.state.machine
        );
        outcome.set_reason("timed_out", message);
        Ok(RowExit::Done(Box::new(outcome), None))
    }
}
