//! One POST of a submit: sends it, reads its response, and finds its action if the response was
//! lost.

use super::lookup;
use super::plan::{PostOutcome, SubmitPlan};
use crate::client::parse_submit_response;
use crate::error::{Error, Kind};
use crate::limits::{Admission, CallPermit, SlotGuard};
use crate::model::MachineAction;
use crate::operation::Operation;
use crate::pipeline::{ApiResponse, AttemptOutcome};
use crate::trace::{self, LOG_TARGET};

/// One submit from its POST to its outcome.
pub(super) struct PostAttempt<'a> {
    plan: &'a SubmitPlan,
    /// Returns whether the caller cancelled. A POST that was sent is still settled, but nothing
    /// more is sent.
    is_cancelled: &'a (dyn Fn() -> bool + Sync),
    /// The response to an earlier POST was lost, so that POST may still arrive.
    posted_before: bool,
    attempt: u32,
}

impl<'a> PostAttempt<'a> {
    pub fn new(
        plan: &'a SubmitPlan,
        is_cancelled: &'a (dyn Fn() -> bool + Sync),
        attempt: u32,
    ) -> Self {
        Self { plan, is_cancelled, posted_before: plan.intent_lease.is_posted(), attempt }
    }

    /// Sends the POST, settles a lost response, and records the outcome in the store.
    pub async fn run(self, admission: Admission) -> PostOutcome {
        let Admission { permit, slot } = admission;
        if (self.is_cancelled)() {
            return PostOutcome::Refused(Error::invalid(
                "the caller cancelled the submit before it was sent",
            ));
        }
        // The store records the POST before it is sent: a crash between the two must leave a
        // record, or the next submit would not check.
        if let Err(error) = self.plan.intent_lease.record_posted(true).await {
            return PostOutcome::Refused(error);
        }
        let first = self.send(permit, None).await;
        let was_lost = matches!(first, PostOutcome::Unknown(_));
        let outcome = match first {
            PostOutcome::Unknown(error) => self.settle_and_repost(error).await,
            outcome => outcome,
        };
        self.record_outcome(&outcome, was_lost, slot).await;
        outcome
    }

    /// `previous_error`: how an earlier POST of this attempt failed, after which the list showed no
    /// action.
    async fn send(&self, permit: CallPermit, previous_error: Option<&Error>) -> PostOutcome {
        let plan = self.plan;
        let pipeline = &plan.sessions.pipeline;
        let sending =
            pipeline.run_live_response(plan.machine_id(), &plan.commands, &plan.comment, permit);
        let attempt = self.attempt + u32::from(previous_error.is_some());
        match trace::with_attempt(attempt, sending).await {
            AttemptOutcome::Succeeded(response) => {
                self.read_response(&response, previous_error).await
            }
            AttemptOutcome::Throttled(throttle, error) => PostOutcome::Throttled(throttle, error),
            AttemptOutcome::NotSent(error) => PostOutcome::NotSent(error),
            AttemptOutcome::TokenRefused(error) => PostOutcome::TokenRefused(error),
            AttemptOutcome::Refused(error) if error.kind == Kind::MachineBusy => {
                self.resolve_busy(error, previous_error).await
            }
            AttemptOutcome::Refused(error) => PostOutcome::Refused(error),
            AttemptOutcome::Ambiguous(error) => PostOutcome::Unknown(error),
        }
    }

    /// Checks by the tag whether the action in the response is ours.
    async fn read_response(
        &self,
        response: &ApiResponse,
        previous_error: Option<&Error>,
    ) -> PostOutcome {
        let mut action = match parse_submit_response(response) {
            Ok(action) => action,
            Err(error) => return PostOutcome::Unknown(error),
        };
        // The first body may have null fields. Without a comment there is no tag to check.
        if has_no_comment(&action) {
            match self.reread_action(&action.id).await {
                Some(filled) => action = filled,
                None => return PostOutcome::Unknown(missing_comment_error(&action.id)),
            }
        }
        if self.plan.tag.matches(&action) {
            return lookup::outcome_of_action(self.plan, action, false);
        }
        self.resolve_busy(foreign_action_error(self.plan.machine_id(), action.id), previous_error)
            .await
    }

    /// Reads the action until it has a comment, for at most the settle time.
    async fn reread_action(&self, action_id: &str) -> Option<MachineAction> {
        let sessions = &self.plan.sessions;
        for pause in sessions.settle_delays() {
            sessions.pipeline.clock.sleep(pause).await;
            match sessions.pipeline.get_machine_action(action_id).await {
                Ok(action) if !has_no_comment(&action) => return Some(action),
                Ok(_) => {}
                // A replica that does not know the action yet answers 404.
                Err(error) if error.kind == Kind::NotFound || error.retryable => {}
                Err(_) => return None,
            }
        }
        None
    }

    /// Finds out which action keeps the machine busy: an earlier POST of ours that arrived late, a
    /// submit of another process with our id, or another caller's session.
    async fn resolve_busy(&self, mut error: Error, previous_error: Option<&Error>) -> PostOutcome {
        let plan = self.plan;
        match (lookup::find_by_tag(plan).await, previous_error) {
            (Ok(Some(action)), _) => {
                return lookup::outcome_of_action(plan, action, previous_error.is_none());
            }
            (Err(read_error), Some(previous_error)) => {
                return PostOutcome::Unknown(lookup::unknown_outcome_error(
                    plan,
                    previous_error,
                    &read_error,
                ));
            }
            // The service refused this POST, and no other POST was sent. So nothing was started.
            (Err(_), None) | (Ok(None), _) => {}
        }
        let listed = plan.sessions.find_active_action(plan.machine_id()).await.unwrap_or_default();
        error.active_action_id = error.active_action_id.take().or_else(|| listed.clone());
        PostOutcome::Busy(error, listed)
    }

    /// Reads the list over the settle time. If the action is not in it, sends the POST once more.
    async fn settle_and_repost(&self, error: Error) -> PostOutcome {
        let plan = self.plan;
        log::warn!(target: LOG_TARGET, "{error}; reading the list of actions to find the session");
        match lookup::settle(plan).await {
            Ok(Some(action)) => return lookup::outcome_of_action(plan, action, false),
            Err(read_error) => {
                return PostOutcome::Unknown(lookup::unknown_outcome_error(
                    plan,
                    &error,
                    &read_error,
                ));
            }
            Ok(None) => {}
        }
        if (self.is_cancelled)() {
            return PostOutcome::Refused(error);
        }
        let permit = match plan.quota.admit_call(Operation::RunLiveResponse).await {
            Ok(permit) => permit,
            Err(queue_error) => return PostOutcome::Refused(queue_error),
        };
        if (self.is_cancelled)() {
            return PostOutcome::Refused(error);
        }
        // The reads may take longer than the intent lease, and then another process may submit.
        // Recording fails in that case, and nothing is sent.
        if let Err(lease_error) = plan.intent_lease.record_posted(true).await {
            return PostOutcome::Refused(lease_error);
        }
        log::warn!(
            target: LOG_TARGET,
            "the service lists no session on machine {}; submitting once more", plan.machine_id()
        );
        match self.send(permit, Some(&error)).await {
            PostOutcome::Unknown(error) if error.kind != Kind::SubmitUnknown => {
                self.settle_repost(error).await
            }
            outcome => outcome,
        }
    }

    /// Reads the list over the settle time after the second POST. There is no third one.
    async fn settle_repost(&self, error: Error) -> PostOutcome {
        match lookup::settle(self.plan).await {
            Ok(Some(action)) => lookup::outcome_of_action(self.plan, action, false),
            Err(read_error) => {
                PostOutcome::Unknown(lookup::unknown_outcome_error(self.plan, &error, &read_error))
            }
            Ok(None) => PostOutcome::NotStarted(not_started_error(error)),
        }
    }

    /// `was_lost`: the response to the first POST was lost, so that POST may still arrive.
    async fn record_outcome(&self, outcome: &PostOutcome, was_lost: bool, slot: SlotGuard) {
        let recorded = match outcome {
            PostOutcome::Ours(action, _) => {
                slot.disarm();
                lookup::record_started(self.plan, action).await
            }
            PostOutcome::Unknown(_) => {
                slot.disarm();
                Ok(())
            }
            PostOutcome::Busy(_, listed) => {
                drop(slot);
                lookup::record_foreign_action(self.plan, listed.as_deref()).await
            }
            _ => Ok(()),
        };
        let recorded = match outcome {
            PostOutcome::Ours(..) | PostOutcome::Unknown(_) | PostOutcome::NotStarted(_) => {
                recorded
            }
            // The intent stays marked as posted, so that the next try reads the list first.
            _ if was_lost => recorded,
            _ => recorded.and(self.plan.intent_lease.record_posted(self.posted_before).await),
        };
        if let Err(error) = recorded {
            log::warn!(
                target: LOG_TARGET,
                "could not record the result of a submit to machine {}: {error}",
                self.plan.machine_id()
            );
        }
    }
}

/// The service rejects an empty comment, so an action without one is not filled in yet.
fn has_no_comment(action: &MachineAction) -> bool {
    action.requestor_comment.as_deref().unwrap_or_default().trim().is_empty()
}

fn missing_comment_error(action_id: &str) -> Error {
    let message = format!(
        "the service returned session {action_id} without a comment, so it is not known whether \
         this submit started it"
    );
    Error::new(Kind::Service, message).with_action(action_id)
}

fn foreign_action_error(machine_id: &str, action_id: String) -> Error {
    let message = format!(
        "machine {machine_id} is busy with a session that this submit did not start, {action_id}"
    );
    let mut error = Error::new(Kind::MachineBusy, message).with_hint(
        "the service answered the submit with another caller's action; wait for it with \
         on_busy=\"wait\", or try again later",
    );
    error.active_action_id = Some(action_id);
    error
}

fn not_started_error(cause: Error) -> Error {
    let mut error = cause.clone();
    error.kind = Kind::Service;
    error.retryable = true;
    error.message = format!("{cause}; this happened twice, and the service lists no session");
    error.with_source(cause).with_hint(
        "call again with the same correlation_id: it reads the list again before it submits; if \
         an earlier action is stuck on the machine, this may fail for hours",
    )
}
