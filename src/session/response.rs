//! Reads the response to a POST: whether its action is ours, and whether a refusal proves that no
//! session started.

use super::evidence::{Ownership, is_on_another_machine};
use super::lookup;
use super::plan::{BusyMachine, PostOutcome, SubmitPlan, is_final_refusal};
use crate::client::parse_submit_response;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::pipeline::ApiResponse;

/// Decides whether the action in the response is ours.
pub(super) async fn read_response(
    plan: &SubmitPlan,
    response: &ApiResponse,
    previous_error: Option<&Error>,
) -> PostOutcome {
    let mut action = match parse_submit_response(response) {
        Ok(action) => action,
        Err(error) => return PostOutcome::Unknown(error),
    };
    let judge = |action: &MachineAction, complete| {
        plan.with_evidence(|evidence| evidence.judge(action, complete))
    };
    if is_on_another_machine(&action, plan.machine_id()) {
        return PostOutcome::Unknown(other_machine_error(plan.machine_id(), &action));
    }
    // The first body may have null fields, which the service fills in later.
    if judge(&action, false) == Ownership::Undecided {
        match reread_action(plan, &action.id).await {
            Ok(filled) => action = filled,
            Err(error) => return PostOutcome::Unknown(error),
        }
    }
    match judge(&action, true) {
        Ownership::OursByTag => lookup::outcome_of_action(plan, action, false),
        Ownership::OursByCircumstances => {
            match lookup::accept_by_circumstances(plan, &action).await {
                Ok(true) => lookup::outcome_of_action(plan, action, false),
                Ok(false) => resolve_foreign(plan, action, previous_error).await,
                Err(error) => PostOutcome::Unknown(error),
            }
        }
        Ownership::Foreign => resolve_foreign(plan, action, previous_error).await,
        Ownership::Undecided => PostOutcome::Unknown(undecided_error(&action.id)),
    }
}

/// Reads the action until the service has filled it in, for at most the settle time.
async fn reread_action(plan: &SubmitPlan, action_id: &str) -> Result<MachineAction> {
    let sessions = &plan.sessions;
    let hides_comments = plan.quota.store().has_unreliable_comments().await.unwrap_or(false);
    let mut last = Err(undecided_error(action_id));
    for pause in sessions.settle_delays() {
        sessions.pipeline.clock.sleep(pause).await;
        match sessions.pipeline.get_machine_action(action_id).await {
            Ok(action) => {
                let ownership =
                    plan.with_evidence(|evidence| evidence.judge(&action, hides_comments));
                last = Ok(action);
                if ownership != Ownership::Undecided {
                    break;
                }
            }
            // A replica that does not know the action yet answers 404.
            Err(error) if error.kind == Kind::NotFound || error.retryable => {}
            Err(error) => return Err(error),
        }
    }
    last
}

async fn resolve_foreign(
    plan: &SubmitPlan,
    action: MachineAction,
    previous_error: Option<&Error>,
) -> PostOutcome {
    // An action that has ended keeps no machine busy, so ours may have started.
    if action.is_done() {
        return PostOutcome::Unknown(ended_action_error(plan.machine_id(), &action.id));
    }
    let error = foreign_action_error(plan.machine_id(), &action.id);
    resolve_busy(plan, error, Some(action), previous_error).await
}

/// Finds out which action keeps the machine busy: an earlier POST of ours that arrived late, a
/// submit of another process with our id, or someone else's session.
///
/// `response`: the other action, which is open, if the service answered with it.
pub(super) async fn resolve_busy(
    plan: &SubmitPlan,
    mut error: Error,
    response: Option<MachineAction>,
    previous_error: Option<&Error>,
) -> PostOutcome {
    let actions = match plan.sessions.list_actions_on(plan.machine_id(), &plan.tag).await {
        Ok(actions) => actions,
        Err(read_error) => match previous_error {
            Some(previous) => {
                let unknown = lookup::unknown_outcome_error(plan, previous, &read_error);
                return PostOutcome::Unknown(unknown);
            }
            None => Vec::new(),
        },
    };
    match lookup::pick_ours(plan, &actions, true).await {
        Ok(Some(action)) => {
            return lookup::outcome_of_action(plan, action, previous_error.is_none());
        }
        Ok(None) => {}
        Err(store_error) => return PostOutcome::Unknown(store_error),
    }
    let open = actions.into_iter().find(|action| !action.is_done());
    // One session on a machine: while an older one is open, no copy of our POST can start one.
    let blocking = open.as_ref().or(response.as_ref());
    let is_proven =
        blocking.is_some_and(|action| plan.history.is_older_than_post(&plan.sessions, action));
    plan.history.record_busy();
    let listed = open.map(|action| action.id);
    error.active_action_id = error.active_action_id.take().or_else(|| listed.clone());
    let is_foreign_response =
        response.is_some_and(|action| plan.history.record_foreign(&action.id));
    PostOutcome::Busy(BusyMachine { error, listed, is_proven, is_foreign_response })
}

/// A refusal may come from a gateway that sent the POST twice: the first copy may have acted.
pub(super) async fn resolve_refusal(
    plan: &SubmitPlan,
    error: Error,
    previous_error: Option<&Error>,
) -> PostOutcome {
    if is_final_refusal(&error) {
        return PostOutcome::Refused(error);
    }
    match (lookup::find_action(plan, false).await, previous_error) {
        (Ok(Some(action)), _) => lookup::outcome_of_action(plan, action, false),
        (Err(read_error), Some(previous)) => {
            PostOutcome::Unknown(lookup::unknown_outcome_error(plan, previous, &read_error))
        }
        (Ok(None), _) if error.status == Some(404) && is_machine_listed(plan).await => {
            PostOutcome::NotFound(error)
        }
        _ => PostOutcome::Refused(error),
    }
}

/// Returns whether the service has the machine, and has not merged it into another.
async fn is_machine_listed(plan: &SubmitPlan) -> bool {
    let machine = plan.sessions.pipeline.get_machine(plan.machine_id()).await;
    machine.is_ok_and(|machine| machine.id.eq_ignore_ascii_case(plan.machine_id()))
}

fn undecided_error(action_id: &str) -> Error {
    let message = format!(
        "the service returned session {action_id} without the fields that show whether this \
         submit started it"
    );
    // It may be a stranger's, so the error's own action stays empty.
    Error::new(Kind::Service, message)
}

fn other_machine_error(machine_id: &str, action: &MachineAction) -> Error {
    let other = action.machine_id.as_deref().unwrap_or_default();
    let message = format!(
        "the service answered a submit to machine {machine_id} with session {} on machine {other}",
        action.id
    );
    Error::new(Kind::Service, message)
}

fn ended_action_error(machine_id: &str, action_id: &str) -> Error {
    let message = format!(
        "the service answered a submit to machine {machine_id} with session {action_id}, which has \
         ended and which this submit did not start"
    );
    Error::new(Kind::Service, message)
}

fn foreign_action_error(machine_id: &str, action_id: &str) -> Error {
    let message = format!(
        "machine {machine_id} is busy with a session that this submit did not start, {action_id}"
    );
    let mut error = Error::new(Kind::MachineBusy, message).with_hint(
        "the service answered the submit with someone else's action; wait for it with \
         on_busy=\"wait\", or try again later",
    );
    error.status = Some(201);
    error.active_action_id = Some(action_id.to_owned());
    error
}
