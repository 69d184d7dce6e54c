//! Finds the action of a submit in the service's list, and records it in the store.

use super::evidence::{Ownership, has_same_commands};
use super::plan::{PostOutcome, SubmitPlan};
use super::wait_limit::WaitLimit;
use super::{Session, store_check};
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::state::store::OpenSession;
use crate::trace::LOG_TARGET;

/// How thoroughly the list is read before the next POST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Check {
    #[default]
    None,
    /// One read: nothing was posted, or the service needed so long that the list is up to date.
    /// If an action there is not filled in yet, the reads go on over the settle time.
    Once,
    /// Reads over the settle time: a POST may have started an action that is not listed yet.
    Settle,
}

/// Returns the session that an earlier call started, if there is one. This call has sent nothing, so
/// its deadline holds for the whole lookup.
pub(super) async fn find_earlier(
    plan: &SubmitPlan,
    check: Check,
    wait_limit: &WaitLimit,
) -> Result<Option<Session>> {
    let unlimited = WaitLimit::new(None, wait_limit.clock);
    let lookup = Box::pin(find_existing(plan, check, &unlimited));
    wait_limit.enforce_lookup(plan, lookup).await?
}

/// Returns the session that an earlier POST of this intent started, if there is one.
pub(super) async fn find_existing(
    plan: &SubmitPlan,
    check: Check,
    wait_limit: &WaitLimit,
) -> Result<Option<Session>> {
    let found = match check {
        Check::None => return Ok(None),
        Check::Once => match wait_limit.enforce(plan, look_once(plan)).await? {
            Ok(Look { ours: None, is_undecided: true }) => settle(plan).await,
            Ok(Look { ours, .. }) => Ok(ours),
            Err(error) => Err(error),
        },
        Check::Settle => settle(plan).await,
    };
    let found = found.map_err(|error| {
        let mut error = plan.annotate(error);
        error.retryable |= plan.intent_lease.is_posted();
        error
    })?;
    let Some(action) = found else {
        if check == Check::Settle {
            release_own_slot(plan).await.map_err(|error| plan.annotate(error))?;
        }
        return Ok(None);
    };
    if !plan.is_ours(&action) {
        return Err(plan.commands_mismatch_error().with_action(&action.id));
    }
    // A POST of this intent that the store knows is counted already.
    if !plan.intent_lease.is_posted() {
        let checked = store_check::check_again(&plan.sessions, &plan.quota, &action).await;
        checked.map_err(|error| plan.annotate(error))?;
    }
    record_started(plan, &action).await.map_err(|error| plan.annotate(error))?;
    Ok(Some(plan.session(&action, !plan.history.may_have_started())))
}

/// What one read of the list shows.
pub(super) struct Look {
    pub ours: Option<MachineAction>,
    /// Whether an action that may be ours is not filled in yet.
    pub is_undecided: bool,
}

pub(super) async fn look_once(plan: &SubmitPlan) -> Result<Look> {
    let actions = list_oldest_first(plan).await?;
    let ours = pick_ours(plan, &actions, true).await?;
    let is_undecided = plan.with_evidence(|evidence| {
        actions.iter().any(|action| evidence.judge(action, true) == Ownership::Undecided)
    });
    Ok(Look { ours, is_undecided })
}

/// Frees the slot of an earlier POST of this intent, which started nothing. The slot of another
/// submit stays: the lookup did not look for that one's session.
async fn release_own_slot(plan: &SubmitPlan) -> Result<()> {
    let slot = plan.quota.slot_on_machine(plan.machine_id()).await?;
    let holder = slot.and_then(|slot| slot.correlation_id);
    if holder.as_ref() != Some(&plan.key().correlation_id) {
        return Ok(());
    }
    plan.quota.release_in_doubt_slot(plan.machine_id(), plan.limits().settle_time).await
}

/// Reads the list over the whole settle time, until the action is in it.
pub(super) async fn settle(plan: &SubmitPlan) -> Result<Option<MachineAction>> {
    let pipeline = &plan.sessions.pipeline;
    let elapsed = plan.history.since_last_post(pipeline.clock.now());
    let mut last = Ok(None);
    let mut delays = plan.sessions.settle_delays_after(elapsed).peekable();
    while let Some(pause) = delays.next() {
        pipeline.clock.sleep(pause).await;
        // A comment may be filled in late, so an action without one is judged at the end only.
        last = find_action(plan, delays.peek().is_none()).await;
        match &last {
            Ok(Some(_)) => break,
            Err(error) if !error.retryable => break,
            Ok(None) | Err(_) => {}
        }
    }
    last
}

/// Finds our action among the machine's live response actions: by the tag, else by the
/// circumstances. `complete`: the service had enough time to fill in its comment.
pub(super) async fn find_action(
    plan: &SubmitPlan,
    complete: bool,
) -> Result<Option<MachineAction>> {
    let actions = list_oldest_first(plan).await?;
    pick_ours(plan, &actions, complete).await
}

/// Lists the machine's actions. The first POST that started an action is the one to adopt.
async fn list_oldest_first(plan: &SubmitPlan) -> Result<Vec<MachineAction>> {
    let mut actions = plan.sessions.list_actions_on(plan.machine_id(), &plan.tag).await?;
    plan.history.record_look(&actions, plan.sessions.pipeline.clock.now());
    actions.reverse();
    Ok(actions)
}

/// Returns the action of `actions` that is ours.
pub(super) async fn pick_ours(
    plan: &SubmitPlan,
    actions: &[MachineAction],
    complete: bool,
) -> Result<Option<MachineAction>> {
    let judged = |wanted: Ownership| {
        plan.with_evidence(|evidence| {
            let ours = actions.iter().filter(|action| evidence.judge(action, complete) == wanted);
            ours.cloned().collect::<Vec<_>>()
        })
    };
    let tagged = judged(Ownership::OursByTag);
    // Someone may have copied our comment with its tag, but then for other commands.
    let same = tagged.iter().find(|action| has_same_commands(action, &plan.commands));
    if let Some(action) = same.or(tagged.first()) {
        return Ok(Some(action.clone()));
    }
    for action in judged(Ownership::OursByCircumstances) {
        if accept_by_circumstances(plan, &action).await? {
            return Ok(Some(action));
        }
    }
    Ok(None)
}

/// Adopts an action without a tag, unless the store knows it as another submit's.
pub(super) async fn accept_by_circumstances(
    plan: &SubmitPlan,
    action: &MachineAction,
) -> Result<bool> {
    let store = plan.quota.store();
    if store.is_action_recorded(action.id.clone()).await? {
        return Ok(false);
    }
    log::warn!(
        target: LOG_TARGET,
        "the service changed or hides the comment of session {} on machine {}, so the tag that \
         identifies our submit is missing; the session is taken as ours because its machine, \
         commands and creation time agree",
        action.id,
        plan.machine_id()
    );
    store.record_unreliable_comments().await?;
    Ok(true)
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

/// Returns the outcome of a POST for which our action was found.
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
