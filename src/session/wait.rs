//! Waits for the end of a session. If the caller stops waiting, the session continues.

use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::pauses;
use crate::session::{Session, UpdateCallback, span_attributes};
use crate::trace::{self, LOG_TARGET};

/// The comment with which a session is cancelled that stayed Pending for too long.
pub const PENDING_CANCEL_COMMENT: &str =
    "cancelled by mde-live-response: Pending for longer than cancel_pending_after";

impl Session {
    /// Waits for at most `timeout` seconds until the action is final. Cancels it if it is still
    /// Pending after `cancel_pending_after` seconds.
    pub async fn wait(
        &self,
        timeout: Option<f64>,
        on_update: Option<UpdateCallback>,
        cancel_pending_after: Option<f64>,
    ) -> Result<MachineAction> {
        let clock = self.sessions.pipeline.clock;
        let started = clock.now();
        let following =
            self.follow(on_update, cancel_pending_after.map(|seconds| started + seconds));
        let waiting = async {
            let Some(timeout) = timeout else { return following.await };
            match tokio::time::timeout(seconds_to_duration(timeout), following).await {
                Ok(ended) => ended,
                // The session itself is not cancelled: another caller may wait for it.
                Err(_) => Err(self.wait_timeout_error()),
            }
        };
        trace::in_span(
            "live_response wait",
            || span_attributes::for_session(self),
            waiting,
            span_attributes::for_action,
        )
        .await
        .map_err(|error| self.in_context(error))
    }

    /// Returns the seconds until it makes sense to read the status again, for a caller that does
    /// not wait in between. 0 if the session has ended, or if nothing is known of it.
    pub fn next_poll_in(&self) -> f64 {
        let Some((read_at, action)) = self.last_seen().filter(|(_, action)| !action.is_done())
        else {
            return 0.0;
        };
        let created = action.creation_date_time_utc.map_or(read_at, |time| time.to_unix());
        let interval = self.sessions.poller.next_separate_poll_in(read_at - created);
        (read_at + interval - self.sessions.pipeline.clock.now()).max(0.0)
    }

    async fn follow(
        &self,
        on_update: Option<UpdateCallback>,
        cancel_pending_at: Option<f64>,
    ) -> Result<MachineAction> {
        if let Some(action) = self.action().filter(MachineAction::is_done) {
            return Ok(action);
        }
        self.find_correlation_id().await;
        let clock = self.sessions.pipeline.clock;
        let subscribe =
            || self.sessions.poller.subscribe(&self.id, self.last_seen().map(|(at, _)| at));
        let mut updates = subscribe();
        let mut cancel_at = cancel_pending_at;
        loop {
            let overdue = async {
                match cancel_at {
                    Some(at) => clock.sleep(at - clock.now()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                (update, more) = updates.next() => {
                    if let Some(action) = &update.action {
                        self.report_update(action, on_update.as_ref());
                        if action.is_done() {
                            return Ok(action.clone());
                        }
                    }
                    if let Some(error) = update.failed {
                        return Err(error);
                    }
                    // The poller's task was stopped: a new subscription starts another.
                    if !more {
                        updates = subscribe();
                    }
                }
                () = overdue => cancel_at = self.cancel_if_pending().await,
            }
        }
    }

    fn report_update(&self, action: &MachineAction, on_update: Option<&UpdateCallback>) {
        let before = self.action();
        self.record_action(action);
        let has_changed = before.is_none_or(|before| statuses(&before) != statuses(action));
        if let Some(on_update) = on_update.filter(|_| has_changed) {
            on_update(action);
        }
    }

    /// Cancels a session that is still Pending. If that fails, returns the time of the next try.
    async fn cancel_if_pending(&self) -> Option<f64> {
        // A session that has started since then is not cancelled.
        let cancelled = match self.refresh(0.0).await {
            Ok(action) if action.status != "Pending" || action.has_started() => return None,
            Ok(_) => self.cancel(PENDING_CANCEL_COMMENT).await,
            Err(error) => Err(error),
        };
        let error = cancelled.err()?;
        log::warn!(
            target: LOG_TARGET,
            "could not cancel session {}, which has been Pending for too long: {error}",
            self.id
        );
        let pipeline = &self.sessions.pipeline;
        let again = pipeline.clock.now() + pauses::CANCEL_PENDING.seconds(&pipeline.options.limits);
        // The service may refuse to cancel an action that it does not know yet.
        (error.retryable || error.kind == Kind::InvalidRequest || error.kind == Kind::NotFound)
            .then_some(again)
    }

    pub(super) fn wait_timeout_error(&self) -> Error {
        let status = self.action().map(|action| action.status);
        let status = match status.as_deref() {
            None => "status not read yet",
            Some("") => "the service names no status",
            Some(status) => status,
        };
        let message = format!(
            "the timeout ended before session {} and its results were complete: {status}",
            self.id
        );
        let error = Error::new(Kind::WaitTimeout, message).with_hint(
            "the session goes on: wait again with session.result(), or open it by its id from any \
             process; session.cancel() stops it",
        );
        let mut error = self.in_context(error);
        error.retryable = true;
        error
    }
}

/// Returns the statuses whose change is worth an update.
fn statuses(action: &MachineAction) -> (&str, Vec<&str>) {
    (&action.status, action.commands.iter().map(|command| command.status.as_str()).collect())
}
