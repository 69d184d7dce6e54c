//! Fetching the results of a row's session, with retries.

use super::{RowTask, wait_for_stop};
use crate::error::{Error, Kind, Result};
use crate::fleet::shared::MAX_ATTEMPTS;
use crate::pauses;
use crate::session::{Session, SessionResult};

/// The tries so far.
struct FetchRetry {
    count: u32,
    began: f64,
    pause: f64,
}

impl RowTask {
    pub(super) async fn fetch(&mut self, session: &Session) -> Result<SessionResult> {
        let shared = self.shared.clone();
        let save_to = shared.save_to();
        let save_to = save_to.as_ref();
        let limits = &shared.sessions.pipeline.options.limits;
        let mut retry = FetchRetry {
            count: 0,
            began: shared.now(),
            pause: pauses::FETCH_RESULT.seconds(limits),
        };
        let mut result = loop {
            match session.fetch_unrecorded(save_to).await {
                Err(error) if self.wait_for_retry(&mut retry, [&error]).await => {}
                fetched => break fetched?,
            }
        };
        while self.wait_for_retry(&mut retry, result.errors()).await {
            result = session.refetch(result, save_to, |error| error.retryable).await;
        }
        Ok(result)
    }

    /// Waits before the next try. Returns false if the errors are permanent, if the tries have
    /// lasted too long, or if the run is stopped.
    async fn wait_for_retry(
        &mut self,
        retry: &mut FetchRetry,
        errors: impl IntoIterator<Item = &Error>,
    ) -> bool {
        retry.count += 1;
        let (now, count, began) = (self.shared.now(), retry.count, retry.began);
        let pipeline = self.shared.sessions.pipeline.clone();
        let is_transient = |error: &Error| {
            // The results stay at the service, so an outage is waited for. A result that the
            // service itself fails to return is given up earlier, and so is a host that a firewall
            // blocks: the row ends, and its result can be fetched later.
            let give_up_at = if error.kind == Kind::Download {
                pipeline.result_hosts.give_up_at(began)
            } else {
                began + pipeline.options.limits.queue_time
            };
            let may_pass = error.is_network_or_throttled() || count < MAX_ATTEMPTS;
            error.retryable && may_pass && now < give_up_at
        };
        if !errors.into_iter().any(is_transient) {
            return false;
        }
        let pause = retry.pause;
        retry.pause = (pause * 2.0).min(pauses::FETCH_RESULT_MAX.seconds(&pipeline.options.limits));
        tokio::select! {
            () = pipeline.clock.sleep(pause) => true,
            () = wait_for_stop(&mut self.control) => false,
        }
    }
}
