//! Retries token requests.

use futures_util::future::BoxFuture;

use super::AccessToken;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::retry::{AttemptFailure, Decision, RetryBudget, RetryPolicy, decide};
use crate::trace;
use crate::transport::Failure;

/// Seconds. A response that asks for a longer wait is an error, so that no caller hangs in a login.
const MAX_RETRY_WAIT: f64 = 30.0;

/// Repeats a token request by the retry policy.
pub struct TokenRetrier {
    clock: Clock,
    budget: RetryBudget,
    policy: RetryPolicy,
}

/// A failed attempt, with the outcome that the retry decision needs.
pub struct FailedAttempt {
    pub outcome: AttemptFailure,
    pub error: Error,
}

impl FailedAttempt {
    /// Creates it from a network failure; `failure_prefix` starts the error's message.
    pub fn from_failure(failure_prefix: &str, failure: Failure) -> Self {
        let mut error = failure.error;
        error.message = format!("{failure_prefix}: {}", error.message);
        Self {
            outcome: if failure.sent {
                AttemptFailure::NoResponse
            } else {
                AttemptFailure::NotSent
            },
            error,
        }
    }
}

impl TokenRetrier {
    pub fn new(clock: Clock, policy: RetryPolicy) -> Self {
        Self { clock, budget: RetryBudget::default(), policy }
    }

    /// Runs `exchange` until it returns a token or the policy gives up.
    pub async fn run<'a>(
        &self,
        send: impl Fn() -> BoxFuture<'a, Result<AccessToken, FailedAttempt>>,
    ) -> Result<AccessToken> {
        let mut attempt = 1;
        loop {
            let failed = match trace::with_attempt(attempt, send()).await {
                Ok(token) => {
                    self.budget.refill();
                    return Ok(token);
                }
                Err(failed) => failed,
            };
            let decision = decide(attempt, &failed.outcome, true, &self.policy, fastrand::f64());
            // Such as a wrong proxy password: repeated attempts may lock the account.
            let permanent = failed.outcome == AttemptFailure::NotSent && !failed.error.retryable;
            match self.budget.spend(&failed.outcome, decision) {
                Decision::Retry { after }
                    if attempt < self.policy.attempts && after <= MAX_RETRY_WAIT && !permanent =>
                {
                    trace::warn_retry(&failed.error, after);
                    self.clock.sleep(after).await;
                    attempt += 1;
                }
                _ => return Err(failed.error),
            }
        }
    }
}
