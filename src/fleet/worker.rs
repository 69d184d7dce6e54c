//! The background task with which this process works on a run.

use std::sync::Arc;

use super::outage::Outage;
use super::scheduler::Scheduler;
use super::shared::{Shared, WorkerState};
use crate::error::Result;
use crate::trace::LOG_TARGET;

/// Seconds after its last heartbeat at which a worker counts as dead, and others take its rows.
const LEASE: f64 = 15.0;
/// Seconds between two heartbeats. Two may fail before the lease ends.
const HEARTBEAT_INTERVAL: f64 = 5.0;

/// Works on the run until it ends or fails, then releases the rows of this worker.
pub async fn run_worker(shared: Arc<Shared>) {
    tokio::select! {
        () = run_until_done(&shared) => {}
        () = send_heartbeats(&shared) => {}
    }
    shared.release_rows().await;
}

/// Renews the lease of this worker.
pub async fn send_heartbeat(shared: &Shared) -> Result<()> {
    shared.run_store().heartbeat(&shared.header.run_id, shared.worker, LEASE).await
}

/// Runs the scheduler until every row has its outcome, or the run cannot continue.
async fn run_until_done(shared: &Arc<Shared>) {
    let mut outage = Outage::default();
    loop {
        let began = shared.now();
        // A new scheduler reads every row from the run store again, so nothing in memory has to be
        // repaired after an error.
        let Err(mut error) = Scheduler::new(shared.clone()).run().await else { return };
        // A scheduler that ran this long means that the previous outage was over.
        if shared.now() - began > shared.sessions.pipeline.options.limits.settle_time {
            outage = Outage::default();
        }
        log::warn!(
            target: LOG_TARGET,
            "run {} cannot continue for now: {error}",
            shared.header.run_id
        );
        if !outage.wait_for_retry(shared, &error).await {
            let run_id = &shared.header.run_id;
            error.message = format!("run {run_id} cannot continue: {}", error.message);
            shared.worker_state.send_replace(WorkerState::Failed(error));
            return;
        }
    }
}

async fn send_heartbeats(shared: &Shared) {
    loop {
        shared.sessions.pipeline.clock.sleep(HEARTBEAT_INTERVAL).await;
        if let Err(error) = send_heartbeat(shared).await {
            log::warn!(
                target: LOG_TARGET,
                "could not send the heartbeat of run {}: {error}",
                shared.header.run_id
            );
        }
    }
}
