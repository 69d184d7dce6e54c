//! Fetching the results of a row's session, with retries.

use std::path::Path;

use super::{RowTask, wait_for_stop};
use crate::error::{Error, Result};
use crate::fleet::shared::MAX_ATTEMPTS;
use crate::pauses;
use crate::session::{Session, SessionResult};

/// The tries so far.
struct FetchRetry {
    count: u32,
    give_up: f64,
    pause: f64,
}

impl RowTask {
    pub(super) async fn fetch(&mut self, session: &Session) -> Result<SessionResult> {
        let shared = self.shared.clone();
        let save_to = shared.header.save_to.as_deref().map(Path::new);
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

    /// Waits before the next try. Returns false if the errors are permanent, if the tries have
    /// lasted longer than `Limits.queue_time`, or if the run is stopped.
    async fn wait_for_retry(
        &mut self,
        retry: &mut FetchRetry,
        errors: impl IntoIterator<Item = &Error>,
    ) -> bool {
        retry.count += 1;
        // The results stay at the service, so the row waits until an outage ends. It gives up
        // earlier if the service itself fails to return a result.
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
