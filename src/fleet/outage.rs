//! What all of a run needs may fail for a while: the run waits, and goes on from its journal.

use std::sync::Arc;

use super::scheduler::Scheduler;
use super::shared::{Shared, WorkerState};
use crate::error::Error;
use crate::pauses;
use crate::trace::LOG_TARGET;

/// Seconds before the first look whether it is over.
const INITIAL_PAUSE: f64 = 1.0;

/// How long it has lasted.
#[derive(Default)]
pub struct Outage {
    since: Option<f64>,
    tries: i32,
}

impl Outage {
    /// Waits where waiting may help, and no longer than a machine that is off is waited for.
    pub async fn wait_for_retry(&mut self, shared: &Shared, error: &Error) -> bool {
        let limits = &shared.sessions.pipeline.options.limits;
        let since = *self.since.get_or_insert(shared.now());
        if !error.retryable || shared.now() - since > limits.queue_time {
            return false;
        }
        let pause =
            (INITIAL_PAUSE * 2_f64.powi(self.tries)).min(pauses::OUTAGE_MAX.seconds(limits));
        self.tries = (self.tries + 1).min(16);
        shared.sessions.pipeline.clock.sleep(pause).await;
        true
    }
}

/// Works at the run until every row has its outcome, or it can't be gone on with.
pub async fn run_until_done(shared: &Arc<Shared>) {
    let mut outage = Outage::default();
    loop {
        let began = shared.now();
        let Err(error) = Scheduler::new(shared.clone()).run().await else { return };
        if shared.now() - began > shared.sessions.pipeline.options.limits.settle_time {
            outage = Outage::default();
        }
        log::warn!(target: LOG_TARGET, "run {} can't go on: {error}", shared.head.run_id);
        if !outage.wait_for_retry(shared, &error).await {
            shared.worker_state.send_replace(WorkerState::Failed(error));
            return;
        }
    }
}
