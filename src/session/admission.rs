//! Waits for what a submit needs before its POST: a session slot, the machine and the rate window.

use std::convert::Infallible;

use super::plan::SubmitPlan;
use super::wait_limit::WaitLimit;
use super::{Sessions, store_check};
use crate::error::{Error, Kind, Result};
use crate::limits::{Admission, AdmissionError, Quota};
use crate::model::MachineAction;
use crate::pauses;
use crate::state::store::{OpenSession, SessionSlot, SlotRequest};
use crate::trace::LOG_TARGET;

/// The longest poll interval of a waiting submit, as a multiple of the first one.
const MAX_INTERVAL_FACTOR: u32 = 8;

/// Waits in the queue for the slot, the machine and the rate window.
pub(super) async fn admit(plan: &SubmitPlan, wait_limit: &WaitLimit) -> Result<Admission> {
    let mut rechecked = false;
    loop {
        let admitting = async {
            tokio::select! {
                admitted = plan.quota.admit_submit(slot_request(plan)) => admitted,
                never = recheck_uncertain_slots(plan) => match never {},
            }
        };
        match wait_limit.enforce(plan, admitting).await? {
            Ok(admission) => return Ok(admission),
            Err(AdmissionError::Failed(error)) => return Err(plan.annotate(error)),
            Err(AdmissionError::SessionsUnknown) => {
                // The store was restored or restarted while this submit was waiting.
                wait_limit
                    .enforce(plan, store_check::check_store(&plan.sessions, &plan.quota))
                    .await?
                    .map_err(|error| plan.annotate(error))?;
            }
            Err(AdmissionError::MachineBusy(_)) => {
                let Some(slot) = plan
                    .quota
                    .slot_on_machine(plan.machine_id())
                    .await
                    .map_err(|error| plan.annotate(error))?
                else {
                    continue;
                };
                if rechecked {
                    return Err(plan.annotate(machine_busy_error(slot)));
                }
                // Our own session on the machine may have ended while nobody polled it.
                rechecked = true;
                let recheck = recheck_slot(&plan.sessions, &plan.quota, &slot);
                if let Err(error) = wait_limit.enforce(plan, recheck).await? {
                    log::debug!(
                        target: LOG_TARGET,
                        "could not read the session on machine {}: {error}", plan.machine_id()
                    );
                }
            }
        }
    }
}

fn slot_request(plan: &SubmitPlan) -> SlotRequest {
    SlotRequest {
        machine_id: plan.machine_id().to_owned(),
        correlation_id: plan.key().correlation_id.clone(),
        lease: plan.slot_ttl,
        wait: plan.wait_if_busy,
    }
}

fn machine_busy_error(slot: SessionSlot) -> Error {
    let machine = &slot.machine_id;
    let whose = if slot.correlation_id.is_some() {
        "a session of this application"
    } else {
        "a session that someone else started"
    };
    let message = match (&slot.action_id, slot.in_doubt) {
        (Some(action_id), _) => format!("machine {machine} is busy with {whose}, {action_id}"),
        (None, Some(_)) => format!(
            "machine {machine} may be busy: it is not known whether an earlier submit started a \
             session"
        ),
        (None, None) => format!("machine {machine} is busy: another submit to it is in progress"),
    };
    let mut error = Error::new(Kind::MachineBusy, message).with_hint(
        "wait for the machine with on_busy=\"wait\", or follow the session with \
         session(active_action_id)",
    );
    error.active_action_id = slot.action_id;
    error
}

/// Returns the seconds until the next poll. It grows with the number of `retries`.
fn poll_interval(plan: &SubmitPlan, retries: u32) -> f64 {
    pauses::BUSY_POLL.seconds(plan.limits()) * f64::from(retries.clamp(1, MAX_INTERVAL_FACTOR))
}

/// Waits until the service lists no open action on the machine.
///
/// `listed`: the service named the action that keeps the machine busy.
pub(super) async fn wait_until_machine_free(plan: &SubmitPlan, retries: u32, listed: bool) {
    let clock = plan.sessions.pipeline.clock;
    // An unlisted action may be another process's submit with our id. The service lists that one
    // within the settle time.
    let settling = if plan.has_caller_id && !listed { plan.limits().settle_time } else { 0.0 };
    // A session that was started in the portal is in no list. Only the next POST shows whether it
    // ended, so the pause grows with each retry.
    clock.sleep(poll_interval(plan, retries).max(settling)).await;
    while let Ok(Some(_)) = plan.sessions.find_active_action(plan.machine_id()).await {
        clock.sleep(poll_interval(plan, retries)).await;
    }
}

/// Waits for a session slot of the tenant: until one of our own sessions ends, or for one interval.
pub(super) async fn wait_for_session_slot(plan: &SubmitPlan, retries: u32) {
    // The service counts sessions that the store does not know, so they are recorded first.
    if let Err(error) = sync_open_sessions(plan).await {
        log::debug!(target: LOG_TARGET, "could not list the open sessions: {error}");
    }
    tokio::select! {
        Ok(()) = plan.quota.wait_for_free_slot() => {}
        () = plan.sessions.pipeline.clock.sleep(poll_interval(plan, retries)) => {}
    }
}

/// Records every session in the store that the service lists as open.
async fn sync_open_sessions(plan: &SubmitPlan) -> Result<()> {
    let open = plan.sessions.list_open_actions(None).await?;
    let sessions = open.into_iter().filter_map(|action| {
        Some(OpenSession {
            machine_id: action.machine_id?,
            action_id: action.id,
            lease: plan.slot_ttl,
        })
    });
    plan.quota.record_open_sessions(sessions.collect()).await
}

/// Checks from time to time whether the slots of submits with an unknown outcome are really taken.
async fn recheck_uncertain_slots(plan: &SubmitPlan) -> Infallible {
    loop {
        let freed = async {
            let slots = plan.quota.store().slots().await?;
            free_stale_slots(&plan.sessions, &plan.quota, &slots).await
        };
        if let Err(error) = freed.await {
            log::debug!(target: LOG_TARGET, "could not check the uncertain sessions: {error}");
        }
        plan.sessions.pipeline.clock.sleep(poll_interval(plan, MAX_INTERVAL_FACTOR)).await;
    }
}

/// Frees the machine's slot if its session ended or never existed.
async fn recheck_slot(sessions: &Sessions, quota: &Quota, slot: &SessionSlot) -> Result<()> {
    let Some(action_id) = &slot.action_id else {
        return free_stale_slots(sessions, quota, std::slice::from_ref(slot)).await;
    };
    if sessions.pipeline.get_machine_action(action_id).await?.is_done() {
        quota.close_session(action_id).await?;
    }
    Ok(())
}

/// Frees the slots whose submit has been uncertain for the settle time and shows in no list.
async fn free_stale_slots(sessions: &Sessions, quota: &Quota, slots: &[SessionSlot]) -> Result<()> {
    let settle_time = sessions.pipeline.options.limits.settle_time;
    let is_stale = |slot: &&SessionSlot| {
        slot.action_id.is_none() && slot.in_doubt.is_some_and(|age| age >= settle_time)
    };
    let stale: Vec<_> = slots.iter().filter(is_stale).map(|slot| &slot.machine_id).collect();
    let machine = match stale.as_slice() {
        [] => return Ok(()),
        [one] => Some(one.as_str()),
        _ => None,
    };
    let open = sessions.list_open_actions(machine).await?;
    for machine_id in stale {
        let is_on_machine = |action: &MachineAction| {
            action.machine_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(machine_id))
        };
        if !open.iter().any(is_on_machine) {
            quota.release_in_doubt_slot(machine_id, settle_time).await?;
        }
    }
    Ok(())
}
