//! How long a caller stands in line.

use super::submit::SubmitPlan;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::{Error, Kind, Result};
use crate::slow_wait;

/// How long the caller stands in line.
pub(super) struct WaitLimit {
    pub deadline: Option<f64>,
    pub timeout: Option<f64>,
    pub clock: Clock,
}

/// The caller's time was over first.
pub(super) struct Elapsed(f64);

impl WaitLimit {
    pub async fn wait_for<T>(&self, waiting: impl Future<Output = T>) -> Result<T, Elapsed> {
        let Some(deadline) = self.deadline else { return Ok(waiting.await) };
        let left = seconds_to_duration(deadline - self.clock.now());
        tokio::time::timeout(left, waiting)
            .await
            .map_err(|_| Elapsed(self.timeout.unwrap_or_default()))
    }

    /// Waits for `work`, unless the caller's time is over first: then nothing was sent, and the intent is withdrawn.
    pub async fn enforce<T>(&self, plan: &SubmitPlan, work: impl Future<Output = T>) -> Result<T> {
        let posted = || plan.intent_lease.is_posted();
        let what = || format!("the turn to submit to machine {}", plan.intent_lease.key.machine_id);
        self.wait_for(slow_wait::warn_if_slow(self.clock, what, work)).await.map_err(|elapsed| {
            plan.annotate(elapsed.into_error(&plan.intent_lease.key.machine_id, posted()))
        })
    }
}

impl Elapsed {
    /// `posted`: an earlier try of the same submit was lost.
    pub fn into_error(self, machine_id: &str, posted: bool) -> Error {
        let message = format!("no turn to submit to machine {machine_id} within {} s", self.0);
        let mut error = if posted {
            Error::new(Kind::SubmitUnknown, message).with_hint(
                "an earlier try was lost, and no list shows it: the same correlation_id looks for it again before it submits",
            )
        } else {
            Error::new(Kind::WaitTimeout, message).with_hint(
                "nothing was started: submit again, with a longer timeout where the limits are shared by many",
            )
        };
        error.retryable = true;
        error
    }
}
