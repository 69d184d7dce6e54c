//! Waits that a person would wonder about.

use crate::clock::Clock;
use crate::trace::LOG;

/// Seconds.
const LONG: f64 = 10.0;

/// Waits for `work`, and warns once when that takes long. `what` is being waited for.
pub fn told<T>(clock: Clock, what: impl FnOnce() -> String, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let mut work = Box::pin(work);
    async move {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = clock.sleep(LONG) => log::warn!(target: LOG, "waiting for more than {LONG} s: {}", what()),
        }
        work.await
    }
}
