//! Decides what follows a POST: done, an error, or a wait before the next try. No I/O.

use super::plan::PostOutcome;
use crate::classify::Throttle;
use crate::config::Limits;
use crate::error::Error;
use crate::model::MachineAction;
use crate::retry::{self, AttemptFailure, Decision, RetryPolicy};

/// The tries of one submit so far, counted by how they ended.
#[derive(Default)]
pub(super) struct SubmitTries {
    pub posts: u32,
    not_sent: u32,
    busy: u32,
    at_session_cap: u32,
    throttled: u32,
    token_was_refused: bool,
    /// The machine was busy, perhaps with a submit of another process with our id: read the list
    /// before the next POST.
    pub check_first: bool,
}

/// What the decision depends on, in addition to the outcome.
pub(super) struct StepContext<'a> {
    pub limits: &'a Limits,
    pub wait_if_busy: bool,
    /// After this time a full tenant is an error.
    pub cap_deadline: f64,
    pub now: f64,
    /// A random number from 0 to 1.
    pub jitter: f64,
}

/// What a submit does after a POST. `error` is the reason for the next try.
pub(super) enum NextStep {
    Done {
        action: Box<MachineAction>,
        already_existed: bool,
    },
    Fail(Error),
    RefreshToken {
        error: Error,
    },
    WaitForMachine {
        retries: u32,
        listed: bool,
    },
    WaitForSlot {
        retries: u32,
        error: Error,
    },
    /// Every submit has to wait, not only this one.
    BlockWindow {
        seconds: f64,
        error: Error,
    },
    Sleep {
        seconds: f64,
        error: Error,
    },
}

/// Returns what follows a POST that ended with `outcome`.
pub(super) fn next_step(
    outcome: PostOutcome,
    tries: &mut SubmitTries,
    context: &StepContext<'_>,
) -> NextStep {
    tries.check_first = matches!(outcome, PostOutcome::Busy(..));
    match outcome {
        PostOutcome::Ours(action, already_existed) => NextStep::Done { action, already_existed },
        PostOutcome::Busy(error, _) if context.wait_if_busy => {
            tries.busy += 1;
            NextStep::WaitForMachine {
                retries: tries.busy,
                listed: error.active_action_id.is_some(),
            }
        }
        PostOutcome::Throttled(Throttle::Rate { wait }, error) => {
            tries.throttled += 1;
            after_rate_limit(tries.throttled, wait, error, context)
        }
        PostOutcome::Throttled(Throttle::SessionCap, error)
            if context.now <= context.cap_deadline =>
        {
            tries.at_session_cap += 1;
            NextStep::WaitForSlot { retries: tries.at_session_cap, error }
        }
        // A token may have been revoked before it expired, so a fresh one is worth one more try.
        PostOutcome::TokenRefused(error) if !tries.token_was_refused => {
            tries.token_was_refused = true;
            NextStep::RefreshToken { error }
        }
        PostOutcome::NotSent(error) => {
            tries.not_sent += 1;
            after_not_sent(tries.not_sent, error, context)
        }
        PostOutcome::Busy(error, _)
        | PostOutcome::Throttled(_, error)
        | PostOutcome::TokenRefused(error)
        | PostOutcome::Refused(error)
        | PostOutcome::Unknown(error)
        | PostOutcome::NotStarted(error) => NextStep::Fail(error),
    }
}

fn after_rate_limit(
    retries: u32,
    wait: Option<f64>,
    error: Error,
    context: &StepContext<'_>,
) -> NextStep {
    let windows = context.limits.submit.iter().map(|rate| rate.per);
    let policy = RetryPolicy {
        window: windows.reduce(f64::min).unwrap_or_default(),
        ..RetryPolicy::default()
    };
    let failure = AttemptFailure::Status(429, wait);
    match retry::decide(retries, &failure, false, &policy, context.jitter) {
        Decision::Retry { after } => NextStep::BlockWindow { seconds: after, error },
        Decision::GiveUp => NextStep::Fail(error),
    }
}

fn after_not_sent(retries: u32, error: Error, context: &StepContext<'_>) -> NextStep {
    let policy = RetryPolicy::default();
    match retry::decide(retries, &AttemptFailure::NotSent, false, &policy, context.jitter) {
        Decision::Retry { after } => NextStep::Sleep { seconds: after, error },
        Decision::GiveUp => NextStep::Fail(error),
    }
}
