//! Asking for a token again, where that may help.

use futures_util::future::BoxFuture;

use super::AccessToken;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::retry::{Budget, Decision, Outcome, Policy, decide};
use crate::trace;
use crate::trace::LOG;
use crate::transport::Failure;

/// Seconds; who asks for more patience than this is an error that says so.
const LONGEST_WAIT: f64 = 30.0;

pub struct Tries {
    clock: Clock,
    budget: Budget,
    policy: Policy,
}

/// A try that brought no token, and what the retry has to know of it.
pub struct Failed {
    pub outcome: Outcome,
    pub error: Error,
}

impl Failed {
    /// The exchange came to no end. `could_not` do what, in the error's words.
    pub fn lost(could_not: &str, failure: Failure) -> Self {
        let mut error = failure.error;
        error.message = format!("{could_not}: {}", error.message);
        Self { outcome: if failure.sent { Outcome::Lost } else { Outcome::NotSent }, error }
    }
}

impl Tries {
    pub fn new(clock: Clock, policy: Policy) -> Self {
        Self { clock, budget: Budget::default(), policy }
    }

    pub async fn of<'a>(
        &self,
        exchange: impl Fn() -> BoxFuture<'a, Result<AccessToken, Failed>>,
    ) -> Result<AccessToken> {
        let mut attempt = 1;
        loop {
            let failed = match trace::numbered(attempt, exchange()).await {
                Ok(token) => {
                    self.budget.refill();
                    return Ok(token);
                }
                Err(failed) => failed,
            };
            let decision = decide(attempt, &failed.outcome, true, &self.policy, fastrand::f64());
            let hopeless = failed.outcome == Outcome::NotSent && !failed.error.retryable;
            match self.budget.afford(&failed.outcome, decision) {
                Decision::Retry { after } if attempt < self.policy.attempts && after <= LONGEST_WAIT && !hopeless => {
                    log::warn!(target: LOG, "{}; trying again in {after:.1} s", failed.error);
                    self.clock.sleep(after).await;
                    attempt += 1;
                }
                _ => return Err(failed.error),
            }
        }
    }
}
