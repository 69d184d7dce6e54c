//! How long a caller stands in line.

use super::submit::Plan;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::{Error, Kind, Result};

/// How long the caller stands in line.
pub(super) struct Patience {
    pub deadline: Option<f64>,
    pub timeout: Option<f64>,
    pub clock: Clock,
}

impl Patience {
    /// Waits for `waiting`, unless the caller's time is over first: then nothing was sent, and the intent is withdrawn.
    pub async fn bound<T>(&self, plan: &Plan, waiting: impl Future<Output = T>) -> Result<T> {
        let Some(deadline) = self.deadline else { return Ok(waiting.await) };
        let left = seconds_to_duration(deadline - self.clock.now());
        match tokio::time::timeout(left, waiting).await {
            Ok(value) => Ok(value),
            Err(_) => Err(plan.gave_up(self.timeout.unwrap_or_default())),
        }
    }
}

impl Plan {
    fn gave_up(&self, timeout: f64) -> Error {
        let message = format!("no turn to submit to machine {} within {timeout} s", self.claim.key().machine_id);
        let error = if self.claim.progress().posted {
            Error::new(Kind::SubmitUnknown, message).with_hint(
                "an earlier try was lost, and no list shows it: the same correlation_id looks for it again before it submits",
            )
        } else {
            Error::new(Kind::WaitTimeout, message).with_hint(
                "nothing was started: submit again, with a longer timeout where the limits are shared by many",
            )
        };
        let mut error = self.about(error);
        error.retryable = true;
        error
    }
}
