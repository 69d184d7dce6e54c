//! The OpenTelemetry attributes of a session's spans.

use super::{Session, SessionResult};
use crate::model::MachineAction;
use crate::trace::Attributes;

pub(super) fn for_machine(machine_id: &str) -> Attributes {
    vec![("mde.machine.id", machine_id.into())]
}

pub(super) fn for_action(action: &MachineAction) -> Attributes {
    vec![
        ("mde.action.id", action.id.as_str().into()),
        ("mde.action.status", action.status.as_str().into()),
    ]
}

pub(super) fn for_result(result: &SessionResult) -> Attributes {
    for_action(&result.action)
}

pub(super) fn for_session(session: &Session) -> Attributes {
    let mut attributes: Attributes = vec![("mde.action.id", session.id.as_str().into())];
    let correlation_id =
        session.correlation_id.as_deref().map(|id| ("mde.correlation.id", id.into()));
    attributes.extend(correlation_id);
    attributes
}
