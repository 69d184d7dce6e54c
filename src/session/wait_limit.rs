//! The caller's timeout, for as long as the submit waits in the queue.

use super::plan::SubmitPlan;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::{Error, Kind, Result};
use crate::slow_wait;

/// How long a submit may wait in the queue.
pub(super) struct WaitLimit {
    pub deadline: Option<f64>,
    /// The caller's timeout in seconds, for the error message.
    pub timeout: Option<f64>,
    pub clock: Clock,
}

/// The deadline passed before the work was done.
pub(super) struct Elapsed {
    timeout: f64,
}

impl WaitLimit {
    pub fn new(timeout: Option<f64>, clock: Clock) -> Self {
        Self { deadline: timeout.map(|seconds| clock.now() + seconds), timeout, clock }
    }

    /// Waits for `work` until the deadline.
    pub async fn wait_for<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let Some(deadline) = self.deadline else { return Ok(work.await) };
        let left = seconds_to_duration(deadline - self.clock.now());
        tokio::time::timeout(left, work)
            .await
            .map_err(|_| Elapsed { timeout: self.timeout.unwrap_or_default() })
    }

    /// Waits for `work` until the deadline, and logs a warning if that takes long.
    ///
    /// After the deadline the error says whether an earlier POST of this submit may have arrived.
    pub async fn enforce<T>(&self, plan: &SubmitPlan, work: impl Future<Output = T>) -> Result<T> {
        let what = || format!("the submit to machine {} is in the queue", plan.machine_id());
        self.wait_for(slow_wait::warn_if_slow(self.clock, what, work)).await.map_err(|elapsed| {
            let in_doubt = plan.history.is_in_doubt();
            let error = elapsed.into_error(plan.machine_id(), in_doubt);
            plan.annotate(with_refusal(error, plan.history.last_refusal()))
        })
    }
}

/// Adds to a timeout what the submit waited for.
fn with_refusal(mut error: Error, refusal: Option<Error>) -> Error {
    let Some(refusal) = refusal else { return error };
    let reason = match refusal.kind {
        Kind::MachineBusy => "the machine was busy",
        Kind::Throttled => "the service refused more submits or sessions",
        _ => "the service refused the submit",
    };
    error.message = format!("{}: {reason} ({})", error.message, refusal.message);
    error.active_action_id.clone_from(&refusal.active_action_id);
    error.with_source(refusal)
}

impl Elapsed {
    /// `in_doubt`: the response to an earlier POST of the same submit was lost.
    pub fn into_error(self, machine_id: &str, in_doubt: bool) -> Error {
        let message = format!(
            "the submit to machine {machine_id} was still in the queue after {} s",
            self.timeout
        );
        let mut error = if in_doubt {
            Error::new(Kind::SubmitUnknown, message).with_hint(
                "the response to an earlier POST was lost, and the service lists no action for it: \
                 submit again with the same correlation_id, which checks again before it submits",
            )
        } else {
            Error::new(Kind::WaitTimeout, message).with_hint(
                "nothing was started: submit again, with a longer timeout if many callers share \
                 the limits",
            )
        };
        error.retryable = true;
        error
    }
}
