//! One POST of a submit: sends it, reads its response, and finds its action if the response was
//! lost.

use super::plan::{PostOutcome, SubmitPlan};
use super::{lookup, response};
use crate::error::{Error, Kind};
use crate::limits::{Admission, CallPermit, SlotGuard};
use crate::operation::Operation;
use crate::pauses;
use crate::pipeline::AttemptOutcome;
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
            return PostOutcome::NotPosted(Error::invalid(
                "the caller cancelled the submit before it was sent",
            ));
        }
        let first = self.send(permit, None).await;
        let was_lost = matches!(first, PostOutcome::Unknown(_));
        let outcome = match first {
            PostOutcome::Unknown(error) => self.settle_and_repost(error).await,
            outcome => outcome,
        };
        if was_lost {
            self.plan.history.set_in_doubt(true);
        }
        self.record_outcome(&outcome, was_lost, slot).await;
        outcome
    }

    /// `previous_error`: how an earlier POST of this attempt failed, after which the list showed no
    /// action.
    async fn send(&self, permit: CallPermit, previous_error: Option<&Error>) -> PostOutcome {
        let plan = self.plan;
        let pipeline = &plan.sessions.pipeline;
        // The token comes first: fetching one takes time, and nothing slow may stand between the
        // check of the lease and the POST.
        if let Err(error) = pipeline.tokens().get_token().await {
            return PostOutcome::NotPosted(plan.annotate(error));
        }
        if let Err(outcome) = self.look_again(previous_error).await {
            return outcome;
        }
        // The store records the POST before it is sent: a crash between the two must leave a
        // record, or the next submit would not check. It fails if another process has the lease.
        if let Err(error) = plan.intent_lease.record_posted(true).await {
            return PostOutcome::NotPosted(error);
        }
        plan.history.record_post(&plan.sessions);
        let sending = pipeline.run_live_response(
            plan.machine_id(),
            &plan.commands,
            &plan.comment,
            permit,
            plan.intent_lease.send_check(),
        );
        let attempt = self.attempt + u32::from(previous_error.is_some());
        match trace::with_attempt(attempt, sending).await {
            AttemptOutcome::Succeeded(response) => {
                response::read_response(plan, &response, previous_error).await
            }
            AttemptOutcome::Throttled(throttle, error) => PostOutcome::Throttled(throttle, error),
            AttemptOutcome::NotSent(error) => PostOutcome::NotSent(error),
            AttemptOutcome::TokenRefused(error) => PostOutcome::TokenRefused(error),
            AttemptOutcome::Refused(error) if error.kind == Kind::MachineBusy => {
                response::resolve_busy(plan, error, None, previous_error).await
            }
            AttemptOutcome::Refused(error) => {
                response::resolve_refusal(plan, error, previous_error).await
            }
            AttemptOutcome::Ambiguous(error) => PostOutcome::Unknown(error),
        }
    }

    /// Reads the list again if this submit waited for long since its last read: meanwhile an earlier
    /// POST may have arrived, or a process with another store may have submitted with the same id.
    async fn look_again(&self, previous_error: Option<&Error>) -> Result<(), PostOutcome> {
        let plan = self.plan;
        let clock = plan.sessions.pipeline.clock;
        let (began, max_age) = (clock.now(), pauses::MAX_LOOK_AGE.seconds(plan.limits()));
        if plan.history.since_last_look(began).is_none_or(|age| age <= max_age) {
            return Ok(());
        }
        let look = match (lookup::look_once(plan).await, previous_error) {
            (Ok(look), _) => look,
            (Err(read_error), None) => return Err(PostOutcome::NotPosted(read_error)),
            (Err(read_error), Some(previous)) => {
                let unknown = lookup::unknown_outcome_error(plan, previous, &read_error);
                return Err(PostOutcome::Unknown(unknown));
            }
        };
        if let Some(action) = look.ours {
            let already_existed = !plan.history.may_have_started();
            return Err(lookup::outcome_of_action(plan, action, already_existed));
        }
        // The permit of this POST ends if the read takes longer than a request may.
        let is_in_time = clock.now() - began <= plan.sessions.pipeline.options.request_timeout;
        match previous_error {
            _ if is_in_time && !look.is_undecided => Ok(()),
            None => Err(PostOutcome::Outdated),
            Some(previous) => Err(PostOutcome::Unknown(previous.clone())),
        }
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
            PostOutcome::Busy(busy) => {
                drop(slot);
                lookup::record_foreign_action(self.plan, busy.listed.as_deref()).await
            }
            _ => Ok(()),
        };
        let recorded = match outcome {
            // Recorded already, or nothing was posted.
            PostOutcome::Ours(..) | PostOutcome::NotPosted(_) | PostOutcome::Outdated => recorded,
            // The intent stays marked as posted, so that the next try reads the list first.
            outcome if was_lost || !outcome.proves_nothing_started() => recorded,
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
