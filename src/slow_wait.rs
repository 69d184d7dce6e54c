//! Logs a warning if a wait takes long.

use crate::clock::Clock;
use crate::trace::LOG_TARGET;

/// Seconds until the warning.
const SLOW_AFTER: f64 = 10.0;

/// Waits for `work`, and logs one warning if that takes long. `what` describes the wait.
pub fn warn_if_slow<T>(
    clock: Clock,
    what: impl FnOnce() -> String,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    // On the heap: futures nested by value would need a large stack.
    let mut work = Box::pin(work);
    async move {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = clock.sleep(SLOW_AFTER) => {
                let what = what();
                log::warn!(target: LOG_TARGET, "waiting for more than {SLOW_AFTER} s: {what}");
            }
        }
        work.await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};
    use std::time::Duration;

    use log::{LevelFilter, Log, Metadata, Record};

    use super::*;

    struct CapturedLogs(Mutex<Vec<String>>);

    static CAPTURED: CapturedLogs = CapturedLogs(Mutex::new(Vec::new()));

    impl Log for CapturedLogs {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record.args().to_string());
        }

        fn flush(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_is_logged_once_and_a_short_one_never() {
        log::set_logger(&CAPTURED).unwrap();
        log::set_max_level(LevelFilter::Warn);
        for (seconds, what) in [(9, "a short one"), (35, "a long one")] {
            let work = tokio::time::sleep(Duration::from_secs(seconds));
            warn_if_slow(Clock::new(), || what.to_owned(), work).await;
        }
        let kept = CAPTURED.0.lock().unwrap().clone();
        let logged: Vec<_> = kept.iter().filter(|line| line.starts_with("waiting for")).collect();
        assert_eq!(logged, ["waiting for more than 10 s: a long one"]);
    }
}
