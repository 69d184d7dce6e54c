//! Cancels a session.

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::pauses;
use crate::trace::LOG_TARGET;

impl Session {
    /// Cancels the session. If it has ended already, returns its action unchanged.
    pub async fn cancel(&self, comment: &str) -> Result<MachineAction> {
        if comment.trim().is_empty() {
            return Err(Error::invalid("a cancel needs a comment")
                .with_hint("give the reason: the service stores it with the action"));
        }
        self.try_cancel(comment).await.map_err(|error| self.in_context(error))
    }

    async fn try_cancel(&self, comment: &str) -> Result<MachineAction> {
        let pipeline = &self.sessions.pipeline;
        let deadline = pipeline.clock.now() + pipeline.options.limits.settle_time;
        loop {
            let error = match pipeline.cancel_machine_action(&self.id, comment).await {
                Ok(action) => {
                    log::info!(target: LOG_TARGET, "cancellation of session {} requested", self.id);
                    self.record_action(&action);
                    self.sessions.poller.publish_action(&action).await?;
                    return Ok(action);
                }
                // A cancel that gives up in the queue must not queue for another call.
                Err(error) if !may_have_ended(&error) => return Err(error),
                Err(error) => error,
            };
            // The service refuses to cancel an action that has ended, and may answer 404 for a new
            // one. Only the action itself shows which of the two it is.
            match self.refresh(0.0).await {
                Ok(action) if action.is_done() => return Ok(action),
                Ok(_) if error.kind == Kind::NotFound && pipeline.clock.now() < deadline => {
                    pipeline
                        .clock
                        .sleep(pauses::CANCEL_UNLISTED.seconds(&pipeline.options.limits))
                        .await;
                }
                _ => return Err(error),
            }
        }
    }
}

/// Returns whether a failed cancel may mean that the action has ended, or is cancelled already.
fn may_have_ended(error: &Error) -> bool {
    !matches!(
        error.kind,
        Kind::Throttled | Kind::Authentication | Kind::PermissionDenied | Kind::Caller
    )
}
