//! Finds the action of a submit by its tag in the service's list, and records it in the store.

use super::Session;
use super::plan::{PostOutcome, SubmitPlan};
use super::wait_limit::WaitLimit;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::state::store::OpenSession;

/// Returns the session that an earlier submit of this intent started, if there is one.
pub(super) async fn find_existing(
    plan: &SubmitPlan,
    wait_limit: &WaitLimit,
) -> Result<Option<Session>> {
    let posted = plan.intent_lease.is_posted();
    let found = match (posted || plan.store_was_reset, plan.has_caller_id) {
        (true, _) => settle(plan).await,
        (false, true) => wait_limit.enforce(plan, find_by_tag(plan)).await?,
        // No other caller can have submitted with an id that was generated here.
        (false, false) => return Ok(None),
    };
    let found = found.map_err(|error| {
        let mut error = plan.annotate(error);
        error.retryable |= posted;
        error
    })?;
    let Some(action) = found else {
        if posted {
            plan.quota
                .release_in_doubt_slot(plan.machine_id(), plan.limits().settle_time)
                .await
                .map_err(|error| plan.annotate(error))?;
        }
        return Ok(None);
    };
    if !plan.is_ours(&action) {
        return Err(plan.commands_mismatch_error().with_action(&action.id));
    }
    record_started(plan, &action).await.map_err(|error| plan.annotate(error))?;
    Ok(Some(plan.session(&action, true)))
}

/// Reads the list over the whole settle time, until the action is in it.
pub(super) async fn settle(plan: &SubmitPlan) -> Result<Option<MachineAction>> {
    let mut last = Ok(None);
    for pause in plan.sessions.settle_delays() {
        plan.sessions.pipeline.clock.sleep(pause).await;
        last = find_by_tag(plan).await;
        match &last {
            Ok(Some(_)) => break,
            Err(error) if !error.retryable => break,
            Ok(None) | Err(_) => {}
        }
    }
    last
}

/// Finds the action that has our tag among the machine's live response actions.
pub(super) async fn find_by_tag(plan: &SubmitPlan) -> Result<Option<MachineAction>> {
    let mut tagged = plan.sessions.list_tagged(plan.machine_id(), &plan.tag).await?;
    // Another caller may have copied our comment with its tag, but for other commands.
    let ours = tagged.iter().position(|action| plan.has_same_commands(action)).unwrap_or_default();
    Ok((ours < tagged.len()).then(|| tagged.swap_remove(ours)))
}

/// Records the action of the intent. While the action runs, it holds the slot and the machine.
pub(super) async fn record_started(plan: &SubmitPlan, action: &MachineAction) -> Result<()> {
    let lease = (!action.is_done()).then_some(plan.slot_ttl);
    plan.quota.store().record_action(plan.key().clone(), action.id.clone(), lease).await?;
    if lease.is_none() {
        plan.quota.wake();
    }
    Ok(())
}

/// Records an action that is not ours: it takes one of the tenant's slots too.
pub(super) async fn record_foreign_action(
    plan: &SubmitPlan,
    action_id: Option<&str>,
) -> Result<()> {
    let Some(action_id) = action_id else { return Ok(()) };
    plan.quota
        .record_open_sessions(vec![OpenSession {
            machine_id: plan.machine_id().to_owned(),
            action_id: action_id.to_owned(),
            lease: plan.slot_ttl,
        }])
        .await
}

/// Returns the outcome of a POST for which the action with our tag was found.
pub(super) fn outcome_of_action(
    plan: &SubmitPlan,
    action: MachineAction,
    already_existed: bool,
) -> PostOutcome {
    if plan.is_ours(&action) {
        return PostOutcome::Ours(Box::new(action), already_existed);
    }
    PostOutcome::Refused(plan.commands_mismatch_error().with_action(&action.id))
}

/// `error`: how the POST failed. `read_error`: why the list could not be read after it.
pub(super) fn unknown_outcome_error(plan: &SubmitPlan, error: &Error, read_error: &Error) -> Error {
    let message = format!(
        "it is not known whether the submit to machine {} started a session: the POST failed \
         ({error}), and the list of actions could not be read ({read_error})",
        plan.machine_id()
    );
    Error::new(Kind::SubmitUnknown, message).with_source(read_error.clone()).with_hint(
        "submit again with the same correlation_id: it checks first, and starts nothing twice",
    )
}
