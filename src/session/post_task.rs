//! Runs a POST in a task of its own, so that it is settled even if the caller cancels.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;

use super::plan::{PostOutcome, SubmitPlan};
use super::post::PostAttempt;
use crate::error::{Error, Kind, Result};
use crate::limits::Admission;
use crate::trace::{self, LOG_TARGET};

/// The submits of this process whose POST is not settled yet. A process that exits waits for them.
static POSTS_IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);

pub fn posts_in_flight() -> usize {
    POSTS_IN_FLIGHT.load(Ordering::SeqCst)
}

/// Sets the count to 0 in a forked child: the POSTs belong to the parent.
pub fn reset_posts_in_flight() {
    POSTS_IN_FLIGHT.store(0, Ordering::SeqCst);
}

struct PostGuard;

impl PostGuard {
    fn new() -> Self {
        POSTS_IN_FLIGHT.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for PostGuard {
    fn drop(&mut self) {
        POSTS_IN_FLIGHT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Sends POST number `attempt` and settles it. Both finish in the background if the caller cancels.
pub(super) async fn post_in_background(
    plan: &SubmitPlan,
    admission: Admission,
    attempt: u32,
) -> Result<PostOutcome> {
    let (sender, receiver) = oneshot::channel();
    let task_plan = plan.clone();
    // Counted here, not in the task: the task may not have started when the process exits.
    let guard = PostGuard::new();
    trace::spawn(async move {
        let is_cancelled = || sender.is_closed();
        let outcome = PostAttempt::new(&task_plan, &is_cancelled, attempt).run(admission).await;
        if let Err(unclaimed) = sender.send(outcome) {
            warn_cancelled(&task_plan, &unclaimed);
        }
        drop(guard);
    });
    receiver.await.map_err(|_| {
        let message = format!(
            "the process ended during the submit to machine {}; it may have started a session",
            plan.machine_id()
        );
        plan.annotate(Error::new(Kind::SubmitUnknown, message))
    })
}

/// Logs the result, because no caller waits for it any more.
fn warn_cancelled(plan: &SubmitPlan, outcome: &PostOutcome) {
    let (machine, correlation_id) = (plan.machine_id(), &plan.key().correlation_id);
    match outcome {
        PostOutcome::Ours(action, _) => log::warn!(
            target: LOG_TARGET,
            "a submit to machine {machine} was cancelled by its caller, but session {} started and \
             continues (correlation id {correlation_id})",
            action.id
        ),
        PostOutcome::Unknown(error) | PostOutcome::NotStarted(error) => log::warn!(
            target: LOG_TARGET,
            "a submit to machine {machine} was cancelled by its caller, but a session may have \
             started: {error} (correlation id {correlation_id})"
        ),
        other => log::warn!(
            target: LOG_TARGET,
            "a submit to machine {machine} was cancelled by its caller, and no session started: \
             {other}"
        ),
    }
}
