//! What the spans of a session tell.

use super::{Session, SessionResult};
use crate::model::MachineAction;
use crate::trace::Attributes;

pub(super) fn of_machine(machine_id: &str) -> Attributes {
    vec![("mde.machine.id", machine_id.into())]
}

pub(super) fn of_action(action: &MachineAction) -> Attributes {
    vec![("mde.action.id", action.id.as_str().into()), ("mde.action.status", action.status.as_str().into())]
}

pub(super) fn of_result(result: &SessionResult) -> Attributes {
    of_action(&result.action)
}

pub(super) fn of_session(session: &Session) -> Attributes {
    let mut told: Attributes = vec![("mde.action.id", session.id.as_str().into())];
    let correlation_id = session.correlation_id.as_deref().map(|id| ("mde.correlation.id", id.into()));
    told.extend(correlation_id);
    told
}
