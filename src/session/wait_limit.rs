//! The caller's timeout, for as long as the submit waits in the queue.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::plan::SubmitPlan;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::{Error, Kind, Result};
use crate::operation::Operation;
use crate::slow_wait;

/// How long a submit that gives up may ask the store what it was waiting for.
const ASK_STORE: Duration = Duration::from_secs(1);

/// How long a submit may wait in the queue.
pub(super) struct WaitLimit {
    pub deadline: Option<f64>,
    /// The caller's timeout in seconds, for the error message.
    pub timeout: Option<f64>,
    pub clock: Clock,
    /// What the submit waited for after the service's last refusal, and the refusal.
    refusal: Mutex<Option<(&'static str, Error)>>,
}

/// What was sent of a submit when its deadline passed.
#[derive(Clone, Copy)]
pub(super) enum Sent {
    /// Nothing, or nothing that can have started a session.
    Nothing,
    /// Nothing by this call. Another call with the same id may have started a session.
    ByAnotherCall,
    /// POSTs that were refused. A gateway may have sent one twice, and the first copy acted.
    Refused,
    /// A POST whose response was lost.
    Lost,
}

/// The deadline passed before the work was done.
pub(super) struct Elapsed {
    timeout: f64,
    /// What the submit did then.
    doing: &'static str,
}

const IN_QUEUE: &str = "in the queue";
const IN_LOOKUP: &str = "looking for the session of an earlier submit";

impl WaitLimit {
    pub fn new(timeout: Option<f64>, clock: Clock) -> Self {
        let deadline = timeout.map(|seconds| clock.now() + seconds);
        Self { deadline, timeout, clock, refusal: Mutex::default() }
    }

    /// Stores what the submit waits for now, for the error of a timeout.
    pub fn record_refusal(&self, refusal: Option<(&'static str, &Error)>) {
        if let Some((what, error)) = refusal {
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) =
                Some((what, error.clone()));
        }
    }

    /// Waits for `work` until the deadline.
    pub async fn wait_for<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let Some(deadline) = self.deadline else { return Ok(work.await) };
        let left = seconds_to_duration(deadline - self.clock.now());
        tokio::time::timeout(left, work)
            .await
            .map_err(|_| Elapsed { timeout: self.timeout.unwrap_or_default(), doing: IN_QUEUE })
    }

    /// Waits until the deadline for `lookup`, which reads the list for the session of an earlier
    /// submit. Nothing is sent after the deadline, so the next call looks again.
    pub async fn enforce_lookup<T>(
        &self,
        plan: &SubmitPlan,
        lookup: impl Future<Output = T>,
    ) -> Result<T> {
        match self.wait_for(lookup).await {
            Ok(done) => Ok(done),
            Err(elapsed) => {
                let sent =
                    if plan.history.is_in_doubt() { Sent::Lost } else { Sent::ByAnotherCall };
                let elapsed = Elapsed { doing: IN_LOOKUP, ..elapsed };
                let mut error = elapsed.into_error(plan.machine_id(), sent);
                error.tenant_id = plan.sessions.pipeline.tokens().tenant_id();
                Err(plan.annotate(error))
            }
        }
    }

    /// Waits for `work` until the deadline, and logs a warning if that takes long.
    ///
    /// After the deadline the error says what the submit waited for, and whether an earlier POST
    /// of it may have arrived.
    pub async fn enforce<T>(&self, plan: &SubmitPlan, work: impl Future<Output = T>) -> Result<T> {
        let what = || format!("the submit to machine {} is in the queue", plan.machine_id());
        let work = slow_wait::warn_if_slow(self.clock, what, work);
        let elapsed = match self.wait_for(work).await {
            Ok(done) => return Ok(done),
            Err(elapsed) => elapsed,
        };
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let waited_for = match tokio::time::timeout(ASK_STORE, obstacle_in_store(plan)).await {
            Ok(Some(obstacle)) => Some(obstacle),
            _ => refusal.as_ref().map(|(what, _)| (*what).to_owned()),
        };
        let sent = match plan.intent_lease.is_posted() {
            _ if plan.history.is_in_doubt() => Sent::Lost,
            true => Sent::Refused,
            false => Sent::Nothing,
        };
        let mut error = elapsed.into_error(plan.machine_id(), sent);
        if let Some(what) = waited_for {
            error.message = format!("{}; it waited for {what}", error.message);
        }
        if let Some((_, refusal)) = refusal {
            error.active_action_id.clone_from(&refusal.active_action_id);
            error = error.with_source(refusal);
        }
        error.tenant_id = plan.sessions.pipeline.tokens().tenant_id();
        Err(plan.annotate(error))
    }
}

/// Returns what keeps the submit from its POST, as the store shows it.
async fn obstacle_in_store(plan: &SubmitPlan) -> Option<String> {
    let slots = plan.quota.store().slots().await.ok()?;
    let is_other = |id: &Option<String>| id.as_ref() != Some(&plan.key().correlation_id);
    let on_machine = slots
        .iter()
        .find(|slot| slot.machine_id == plan.machine_id() && is_other(&slot.correlation_id));
    if let Some(slot) = on_machine {
        return Some(match &slot.action_id {
            Some(id) => format!("the machine, which is busy with session {id}"),
            None => "the machine, to which another submit is in progress".to_owned(),
        });
    }
    let sessions = plan.limits().sessions;
    if slots.len() >= sessions as usize {
        return Some(format!("a session slot: all {sessions} of the tenant are taken"));
    }
    let wait = plan.quota.window_usage(Operation::RunLiveResponse).await.ok()?.wait;
    (wait > 0.0).then(|| {
        format!("the service's limit of submits, which is used up for about {wait:.0} s more")
    })
}

impl Elapsed {
    pub fn into_error(self, machine_id: &str, sent: Sent) -> Error {
        let message = format!(
            "the submit to machine {machine_id} was still {} after {} s",
            self.doing, self.timeout
        );
        let (kind, hint) = match sent {
            Sent::Lost => (
                Kind::SubmitUnknown,
                "the response to an earlier POST was lost, and the service lists no action for it: \
                 submit again with the same correlation_id, which checks again before it submits",
            ),
            Sent::Refused => (
                Kind::WaitTimeout,
                "the service refused each POST and lists no session of this submit so far: submit \
                 again with the same correlation_id, which checks again before it submits",
            ),
            Sent::ByAnotherCall => (
                Kind::WaitTimeout,
                "this call sent nothing, but another one with the same correlation_id may have \
                 started a session: submit again with this correlation_id, which adopts it",
            ),
            Sent::Nothing => (
                Kind::WaitTimeout,
                "nothing was started: submit again, with a longer timeout if many callers share \
                 the limits",
            ),
        };
        let mut error = Error::new(kind, message).with_hint(hint);
        error.retryable = true;
        error
    }
}
