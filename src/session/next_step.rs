//! Decides what follows a POST: done, an error, or a wait before the next try. No I/O.

use super::lookup::Check;
use super::plan::{BusyMachine, PostOutcome};
use crate::classify::Throttle;
use crate::config::Limits;
use crate::error::Error;
use crate::model::MachineAction;
use crate::retry::{self, AttemptFailure, Decision, RetryPolicy};

/// The most responses with someone else's action that a submit answers with another POST.
const MAX_FOREIGN_RESPONSES: u32 = 3;

/// How often a submit is repeated that gets a 404 for a machine that exists: a replica may not know
/// the machine yet.
const MAX_NOT_FOUND: u32 = 2;

/// The tries of one submit so far, counted by how they ended.
#[derive(Default)]
pub(super) struct SubmitTries {
    pub posts: u32,
    not_sent: u32,
    busy: u32,
    at_session_cap: u32,
    throttled: u32,
    not_found: u32,
    token_was_refused: bool,
    /// Responses that held someone else's action.
    foreign_responses: u32,
    /// How to read the list before the next POST.
    pub check: Check,
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
    /// `action_id`: what keeps the machine busy, if the service named it.
    WaitForMachine {
        retries: u32,
        action_id: Option<String>,
        error: Error,
    },
    WaitForSlot {
        retries: u32,
        error: Error,
    },
    /// The next try follows as soon as the list was read. Without an error, nothing was sent.
    ReadList {
        error: Option<Error>,
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

impl NextStep {
    /// Returns what the submit waits for after this step, and why.
    pub fn refusal(&self) -> Option<(&'static str, &Error)> {
        match self {
            Self::WaitForMachine { error, .. } => Some(("the machine, which is busy", error)),
            Self::WaitForSlot { error, .. } => Some(("a session slot of the tenant", error)),
            Self::BlockWindow { error, .. } => Some(("the service's limit of submits", error)),
            Self::Sleep { error, .. } => Some(("a connection to the service", error)),
            Self::ReadList { error } => {
                error.as_ref().map(|error| ("the machine, which the service did not find", error))
            }
            Self::RefreshToken { error } => Some(("a token that the service accepts", error)),
            Self::Done { .. } | Self::Fail(_) => None,
        }
    }
}

/// Returns what follows a POST that ended with `outcome`.
pub(super) fn next_step(
    outcome: PostOutcome,
    tries: &mut SubmitTries,
    context: &StepContext<'_>,
) -> NextStep {
    tries.check = check_before_next(&outcome);
    match outcome {
        PostOutcome::Ours(action, already_existed) => NextStep::Done { action, already_existed },
        PostOutcome::Busy(busy) if context.wait_if_busy => after_busy(busy, tries),
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
        PostOutcome::NotFound(error) if tries.not_found < MAX_NOT_FOUND => {
            tries.not_found += 1;
            NextStep::ReadList { error: Some(error) }
        }
        PostOutcome::Outdated => NextStep::ReadList { error: None },
        PostOutcome::NotSent(error) => {
            tries.not_sent += 1;
            after_not_sent(tries.not_sent, error, context)
        }
        PostOutcome::Busy(BusyMachine { error, .. })
        | PostOutcome::Throttled(_, error)
        | PostOutcome::NotPosted(error)
        | PostOutcome::TokenRefused(error)
        | PostOutcome::Refused(error)
        | PostOutcome::NotFound(error)
        | PostOutcome::Unknown(error)
        | PostOutcome::NotStarted(error) => NextStep::Fail(error),
    }
}

/// Returns how to read the list before another POST: a refusal does not prove that no copy of the
/// POST acted.
fn check_before_next(outcome: &PostOutcome) -> Check {
    match outcome {
        // The wait after a 429 is so long that one read shows what was started.
        PostOutcome::Throttled(..) => Check::Once,
        // The next POST follows immediately: a session of the first one keeps the machine busy.
        PostOutcome::TokenRefused(_) => Check::Once,
        PostOutcome::Outdated => Check::Once,
        // A submit of another process with our id may keep the machine busy.
        PostOutcome::Busy(busy) if busy.is_proven => Check::Once,
        outcome if outcome.proves_nothing_started() => Check::None,
        _ => Check::Settle,
    }
}

fn after_busy(busy: BusyMachine, tries: &mut SubmitTries) -> NextStep {
    tries.busy += 1;
    tries.foreign_responses += u32::from(busy.is_foreign_response);
    // If one of these actions was ours after all, each further POST would start another session.
    if tries.foreign_responses > MAX_FOREIGN_RESPONSES {
        return NextStep::Fail(busy.error);
    }
    let action_id = busy.error.active_action_id.clone();
    NextStep::WaitForMachine { retries: tries.busy, action_id, error: busy.error }
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
