//! Backoff while something that all rows need is unavailable.

use super::shared::Shared;
use crate::error::Error;
use crate::pauses;

/// Seconds before the first retry.
const INITIAL_PAUSE: f64 = 1.0;

/// An outage, from its first error on.
#[derive(Default)]
pub struct Outage {
    since: Option<f64>,
    tries: i32,
}

impl Outage {
    /// Waits before the next try. Returns false if retrying cannot help, or if the outage has
    /// lasted longer than `Limits.queue_time`.
    pub async fn wait_for_retry(&mut self, shared: &Shared, error: &Error) -> bool {
        let limits = &shared.sessions.pipeline.options.limits;
        let since = *self.since.get_or_insert(shared.now());
        if !error.retryable || shared.now() - since > limits.queue_time {
            return false;
        }
        let pause =
            (INITIAL_PAUSE * 2_f64.powi(self.tries)).min(pauses::OUTAGE_MAX.seconds(limits));
        // Capped, so that the power cannot overflow in an outage of hours.
        self.tries = (self.tries + 1).min(16);
        shared.sessions.pipeline.clock.sleep(pause).await;
        true
    }
}
