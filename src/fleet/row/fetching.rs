//! A session's results are fetched for as long as that may help: they stay at the service.

use std::path::Path;

use super::{MAX_ATTEMPTS, RowTask, wait_for_stop};
use crate::error::{Error, Result};
use crate::pauses;
use crate::session::{Session, SessionResult};

/// How often it was tried, and for how long.
struct FetchRetry {
    count: u32,
    give_up: f64,
    pause: f64,
}

impl RowTask {
    pub(super) async fn fetch(&mut self, session: &Session) -> Result<SessionResult> {
        let shared = self.shared.clone();
        let save_to = shared.head.save_to.as_deref().map(Path::new);
        let limits = &shared.sessions.pipeline.options.limits;
        let mut retry = FetchRetry {
            count: 0,
            give_up: shared.now() + limits.queue_time,
            pause: pauses::FETCH_RESULT.seconds(limits),
        };
        let mut result = loop {
            match session.result(None, save_to).await {
                Err(error) if self.wait_for_retry(&mut retry, [&error]).await => {}
                fetched => break fetched?,
            }
        };
        while self.wait_for_retry(&mut retry, result.errors()).await {
            result = session.refetch_failed(result, save_to).await;
        }
        Ok(result)
    }

    /// Waits where waiting may help: not for ever, and not at all in a run that was stopped.
    async fn wait_for_retry(
        &mut self,
        retry: &mut FetchRetry,
        errors: impl IntoIterator<Item = &Error>,
    ) -> bool {
        retry.count += 1;
        let is_transient = |error: &Error| {
            error.retryable && (error.is_network_or_throttled() || retry.count < MAX_ATTEMPTS)
        };
        if self.shared.now() >= retry.give_up || !errors.into_iter().any(is_transient) {
            return false;
        }
        let pause = retry.pause;
        retry.pause = (pause * 2.0)
            .min(pauses::FETCH_RESULT_MAX.seconds(&self.shared.sessions.pipeline.options.limits));
        tokio::select! {
            () = self.shared.sessions.pipeline.clock.sleep(pause) => true,
            () = wait_for_stop(&mut self.control) => false,
        }
    }
}
