//! One POST: the answer read, and where it was lost or says nothing, its action sought.

use super::submit::{PostOutcome, SubmitPlan};
use crate::client::parse_submit_response;
use crate::error::{Error, Kind};
use crate::limits::{Admission, CallPermit, SlotGuard};
use crate::model::MachineAction;
use crate::operation::Operation;
use crate::pipeline::{ApiResponse, AttemptOutcome};
use crate::trace;
use crate::trace::LOG_TARGET;

/// One submit from its POST to its outcome.
pub(super) struct PostAttempt<'a> {
    plan: &'a SubmitPlan,
    /// Whether the caller has left: what is on the wire is settled, but nothing more is sent.
    caller_left: &'a (dyn Fn() -> bool + Sync),
    /// An earlier try was lost, and may land yet.
    posted_before: bool,
    attempt: u32,
}

impl<'a> PostAttempt<'a> {
    pub fn new(
        plan: &'a SubmitPlan,
        caller_left: &'a (dyn Fn() -> bool + Sync),
        attempt: u32,
    ) -> Self {
        Self { plan, caller_left, posted_before: plan.intent_lease.is_posted(), attempt }
    }

    /// Posts, settles, and notes the outcome in the store.
    pub async fn run(self, admission: Admission) -> PostOutcome {
        let Admission { permit, slot } = admission;
        if (self.caller_left)() {
            return PostOutcome::Refused(Error::invalid(
                "the caller left before anything was sent",
            ));
        }
        // The intent must outlive this process before anything can reach the service.
        if let Err(error) = self.plan.intent_lease.record_posted(true).await {
            return PostOutcome::Refused(error);
        }
        let first = self.post(permit, None).await;
        let was_lost = matches!(first, PostOutcome::Unknown(_));
        let outcome = match first {
            PostOutcome::Unknown(error) => self.settle_and_repost(error).await,
            outcome => outcome,
        };
        self.record_outcome(&outcome, was_lost, slot).await;
        outcome
    }

    /// A try that `was_lost` may land yet: before the next one the list is asked again.
    async fn record_outcome(&self, outcome: &PostOutcome, was_lost: bool, slot: SlotGuard) {
        let recorded = match outcome {
            PostOutcome::Ours(action, _) => {
                slot.disarm();
                self.plan.record_started(action).await
            }
            PostOutcome::Unknown(_) => {
                slot.disarm();
                Ok(())
            }
            PostOutcome::Busy(_, listed) => {
                drop(slot);
                self.plan.record_foreign_action(listed.as_deref()).await
            }
            _ => Ok(()),
        };
        let recorded = match outcome {
            PostOutcome::Ours(..) | PostOutcome::Unknown(_) | PostOutcome::NotStarted(_) => {
                recorded
            }
            _ if was_lost => recorded,
            _ => recorded.and(self.plan.intent_lease.record_posted(self.posted_before).await),
        };
        if let Err(error) = recorded {
            log::warn!(target: LOG_TARGET, "could not note what became of a submit to machine {}: {error}", self.machine_id());
        }
    }

    fn machine_id(&self) -> &str {
        &self.plan.intent_lease.key.machine_id
    }

    /// `previous_error`: how an earlier try of this submit ended, of which nothing could be found.
    async fn post(&self, permit: CallPermit, previous_error: Option<&Error>) -> PostOutcome {
        let plan = self.plan;
        let pipeline = &plan.sessions.pipeline;
        let posting =
            pipeline.run_live_response(self.machine_id(), &plan.commands, &plan.comment, permit);
        match trace::with_attempt(self.attempt + u32::from(previous_error.is_some()), posting).await
        {
            AttemptOutcome::Succeeded(answer) => self.read_response(&answer, previous_error).await,
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

    /// An action is ours by our tag. One without any comment is neither ours nor another's yet.
    async fn read_response(
        &self,
        answer: &ApiResponse,
        previous_error: Option<&Error>,
    ) -> PostOutcome {
        let mut action = match parse_submit_response(answer) {
            Ok(action) => action,
            Err(error) => return PostOutcome::Unknown(error),
        };
        if has_no_comment(&action) {
            match self.reread_action(&action.id).await {
                Some(filled) => action = filled,
                None => return PostOutcome::Unknown(self.missing_comment_error(&action.id)),
            }
        }
        if self.plan.tag.matches(&action) {
            return self.plan.outcome_of_action(action, false);
        }
        let machine = self.machine_id();
        let message = format!("machine {machine} is busy with another's session, {}", action.id);
        let mut error = Error::new(Kind::MachineBusy, message).with_hint(
            "the service handed back an action that is not ours; wait for it with on_busy=\"wait\", or try again later",
        );
        error.active_action_id = Some(action.id);
        self.resolve_busy(error, previous_error).await
    }

    async fn reread_action(&self, action_id: &str) -> Option<MachineAction> {
        for pause in self.plan.settle_delays() {
            self.plan.sessions.pipeline.clock.sleep(pause).await;
            match self.plan.sessions.pipeline.get_machine_action(action_id).await {
                Ok(action) if !has_no_comment(&action) => return Some(action),
                Ok(_) => {}
                Err(error) if error.kind == Kind::NotFound || error.retryable => {}
                Err(_) => return None,
            }
        }
        None
    }

    fn missing_comment_error(&self, action_id: &str) -> Error {
        let message = format!("the service started session {action_id} and did not say for whom");
        Error::new(Kind::Service, message).with_action(action_id)
    }

    /// The machine is taken: by an earlier POST of ours that landed late, by a sibling, or by another.
    async fn resolve_busy(&self, mut error: Error, previous_error: Option<&Error>) -> PostOutcome {
        match (self.plan.find_by_tag().await, previous_error) {
            (Ok(Some(action)), _) => {
                return self.plan.outcome_of_action(action, previous_error.is_none());
            }
            (Err(read_error), Some(previous_error)) => {
                return PostOutcome::Unknown(
                    self.plan.unknown_outcome_error(previous_error, &read_error),
                );
            }
            // This POST was refused for certain, and there was no other.
            (Err(_), None) | (Ok(None), _) => {}
        }
        let listed =
            self.plan.sessions.find_active_action(self.machine_id()).await.unwrap_or_default();
        error.active_action_id = error.active_action_id.take().or_else(|| listed.clone());
        PostOutcome::Busy(error, listed)
    }

    /// Looks for the action over the settle time; where it is in no look, posts once more.
    async fn settle_and_repost(&self, error: Error) -> PostOutcome {
        log::warn!(target: LOG_TARGET, "{error}; looking for the action at the service");
        match self.plan.settle().await {
            Ok(Some(action)) => return self.plan.outcome_of_action(action, false),
            Err(read_error) => {
                return PostOutcome::Unknown(self.plan.unknown_outcome_error(&error, &read_error));
            }
            Ok(None) => {}
        }
        if (self.caller_left)() {
            return PostOutcome::Refused(error);
        }
        let permit = match self.plan.quota.admit_call(Operation::RunLiveResponse).await {
            Ok(permit) => permit,
            Err(failed) => return PostOutcome::Refused(failed),
        };
        if (self.caller_left)() {
            return PostOutcome::Refused(error);
        }
        // It may have taken so long that another has the turn by now.
        if let Err(lease_error) = self.plan.intent_lease.record_posted(true).await {
            return PostOutcome::Refused(lease_error);
        }
        let machine = self.machine_id();
        log::warn!(target: LOG_TARGET, "no action was started on machine {machine}; submitting once more");
        match self.post(permit, Some(&error)).await {
            PostOutcome::Unknown(error) if error.kind != Kind::SubmitUnknown => {
                match self.plan.settle().await {
                    Ok(Some(action)) => self.plan.outcome_of_action(action, false),
                    Err(read_error) => {
                        PostOutcome::Unknown(self.plan.unknown_outcome_error(&error, &read_error))
                    }
                    Ok(None) => PostOutcome::NotStarted(not_started_error(error)),
                }
            }
            outcome => outcome,
        }
    }
}

/// A first body may have no comment yet. The service takes no empty one.
fn has_no_comment(action: &MachineAction) -> bool {
    action.requestor_comment.as_deref().unwrap_or_default().trim().is_empty()
}

fn not_started_error(cause: Error) -> Error {
    let mut error = cause.clone();
    error.kind = Kind::Service;
    error.retryable = true;
    error.message = format!("{cause}, twice, and the service's list shows no action");
    error.with_source(cause).with_hint(
        "the same call with the same correlation_id looks for the action again before it submits; a machine on which \
         an earlier action is stuck may answer so for hours",
    )
}
