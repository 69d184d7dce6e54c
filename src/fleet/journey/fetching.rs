//! A session's results are fetched for as long as that may help: they stay at the service.

use std::path::Path;

use super::{Journey, TRIES, stopped};
use crate::error::{Error, Result};
use crate::session::{Session, SessionResult};

/// How often it was tried, and for how long.
struct Tries {
    count: u32,
    give_up: f64,
    pause: f64,
}

impl Journey {
    pub(super) async fn fetch(&mut self, session: &Session) -> Result<SessionResult> {
        let shared = self.shared.clone();
        let save_to = shared.head.save_to.as_deref().map(Path::new);
        let limits = &shared.sessions.pipeline.options.limits;
        let mut tries = Tries { count: 0, give_up: shared.now() + limits.queue_time, pause: limits.settle_time / 4.0 };
        let mut result = loop {
            match session.result(None, save_to).await {
                Err(error) if self.may_try_again(&mut tries, [&error]).await => {}
                fetched => break fetched?,
            }
        };
        while self.may_try_again(&mut tries, result.errors()).await {
            result = session.fetch_missing(result, save_to).await;
        }
        Ok(result)
    }

    /// Waits where waiting may help: not for ever, and not at all in a run that was stopped.
    async fn may_try_again(&mut self, tries: &mut Tries, errors: impl IntoIterator<Item = &Error>) -> bool {
        tries.count += 1;
        let may_pass = |error: &Error| error.retryable && (error.is_of_the_network() || tries.count < TRIES);
        if self.shared.now() >= tries.give_up || !errors.into_iter().any(may_pass) {
            return false;
        }
        let pause = tries.pause;
        tries.pause = (pause * 2.0).min(self.shared.sessions.pipeline.options.limits.settle_time);
        tokio::select! {
            () = self.shared.sessions.pipeline.clock.sleep(pause) => true,
            () = stopped(&mut self.wishes) => false,
        }
    }
}
