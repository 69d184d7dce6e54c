//! A call with its retries: waits in the queue, sends the request, decodes the response.

use super::{ApiCall, ApiResponse, AttemptOutcome, Pipeline};
use crate::classify::Throttle;
use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::limits::{CallPermit, Quota};
use crate::retry::{self, AttemptFailure, Decision, RetryPolicy};
use crate::slow_wait;
use crate::trace::{self, LOG_TARGET};

/// What one attempt means for its call.
enum AttemptResult<T> {
    Done(T),
    Failed(Error),
    TokenRefused(Error),
    MayRetry(AttemptFailure, Error),
}

impl Pipeline {
    /// Sends the call and decodes its body. Retries where that is safe and may help.
    pub async fn call<T>(&self, call: &ApiCall, decode: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        // On the heap, because the futures of all operations contain it.
        Box::pin(self.call_response(call, |response| decode(&response.body))).await
    }

    /// Sends the call and decodes its response. Retries where that is safe and may help.
    pub async fn call_response<T>(
        &self,
        call: &ApiCall,
        decode: impl Fn(&ApiResponse) -> Result<T>,
    ) -> Result<T> {
        let (_, quota) = self.shared_quota().await?;
        let deadline = self.clock.now() + self.options.max_wait;
        let mut attempt = 0;
        let mut token_was_refused = false;
        loop {
            attempt += 1;
            let permit = self.wait_in_queue(call, &quota, deadline).await?;
            let outcome = trace::with_attempt(attempt, self.attempt(call, permit)).await;
            let (failure, error) = match self.read_outcome(call, outcome, &decode) {
                AttemptResult::Done(value) => return Ok(value),
                AttemptResult::Failed(error) => return Err(error),
                // A token may have been revoked before it expired, so a fresh one gets one try.
                AttemptResult::TokenRefused(error) if !token_was_refused => {
                    log::warn!(target: LOG_TARGET, "{error}; trying again with a fresh token");
                    token_was_refused = true;
                    continue;
                }
                AttemptResult::TokenRefused(error) => return Err(error),
                AttemptResult::MayRetry(failure, error) => (failure, error),
            };
            let idempotent = call.operation.is_idempotent();
            let policy = RetryPolicy::default();
            let decision = retry::decide(attempt, &failure, idempotent, &policy, fastrand::f64());
            let decision = self.budget.spend(&failure, decision);
            // A 429 delays every call of the endpoint, even if this call gives up.
            if let (AttemptFailure::Status(429, _), Decision::Retry { after }) = (failure, decision)
            {
                quota.block_window(call.operation, after).await?;
            }
            match decision {
                Decision::Retry { after } if self.clock.now() + after <= deadline => {
                    self.wait_to_retry(&failure, after, &error).await;
                }
                _ => return Err(error),
            }
        }
    }

    fn read_outcome<T>(
        &self,
        call: &ApiCall,
        outcome: AttemptOutcome,
        decode: impl Fn(&ApiResponse) -> Result<T>,
    ) -> AttemptResult<T> {
        match outcome {
            AttemptOutcome::Succeeded(response) => match decode(&response) {
                Ok(value) => {
                    self.budget.refill();
                    AttemptResult::Done(value)
                }
                // A body that cannot be decoded was cut or changed in transit. The call is retried
                // as after a lost response.
                Err(mut error) => {
                    error.status = Some(response.status.as_u16());
                    let doing = call.operation.description();
                    error.message = format!("could not {doing}: {}", error.message);
                    AttemptResult::MayRetry(AttemptFailure::NoResponse, self.annotate(call, error))
                }
            },
            AttemptOutcome::Refused(error) => AttemptResult::Failed(error),
            AttemptOutcome::TokenRefused(error) => AttemptResult::TokenRefused(error),
            AttemptOutcome::Throttled(throttle, error) => {
                let wait = match throttle {
                    Throttle::Rate { wait } => wait,
                    Throttle::SessionCap => None,
                };
                AttemptResult::MayRetry(AttemptFailure::Status(429, wait), error)
            }
            AttemptOutcome::NotSent(error) => {
                AttemptResult::MayRetry(AttemptFailure::NotSent, error)
            }
            AttemptOutcome::Ambiguous(error) => {
                let failure = match error.status {
                    Some(status) => AttemptFailure::Status(status, error.retry_after),
                    None => AttemptFailure::NoResponse,
                };
                AttemptResult::MayRetry(failure, error)
            }
        }
    }

    async fn wait_to_retry(&self, failure: &AttemptFailure, after: f64, error: &Error) {
        trace::warn_retry(error, after);
        // After a 429 the queue itself is blocked, and waiting there is enough.
        if !matches!(failure, AttemptFailure::Status(429, _)) {
            self.clock.sleep(after).await;
        }
    }

    /// Waits in the queue of the endpoint's rate window until `deadline`.
    async fn wait_in_queue(
        &self,
        call: &ApiCall,
        quota: &Quota,
        deadline: f64,
    ) -> Result<CallPermit> {
        let remaining = seconds_to_duration(deadline - self.clock.now());
        let doing = call.operation.description();
        let what = || {
            let wait = quota.expected_wait(call.operation);
            format!("the call to {doing} is in the queue, for about {wait:.0} s more")
        };
        let entering = slow_wait::warn_if_slow(self.clock, what, quota.admit_call(call.operation));
        if let Ok(entered) = tokio::time::timeout(remaining, entering).await {
            return entered.map_err(|error| self.annotate(call, error));
        }
        let max_wait = self.options.max_wait;
        let message = format!("could not {doing}: still in the queue after max_wait, {max_wait} s");
        let mut error = Error::new(Kind::Throttled, message).with_hint(
            "this process or others with the same application used up the service's limit for this \
             call: call less often, or raise max_wait",
        );
        error.retry_after = Some(quota.expected_wait(call.operation));
        Err(self.annotate(call, error))
    }
}
