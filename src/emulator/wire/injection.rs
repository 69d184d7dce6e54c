//! What an injected fault does to a request and to its response.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::seconds_to_duration;
use crate::emulator::control::fault::{Fault, FaultKind};
use crate::emulator::state::State;
use crate::emulator::wire::reply::{ExchangeOutcome, Reply, ReplyBody, status};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::Route;

/// What a fault does before the request is served.
pub enum FaultAction {
    /// Serve the request. A fault here changes the response.
    Proceed(Option<Fault>),
    Delay(Duration),
    Drop {
        /// Whether to read the body first.
        read: bool,
    },
    /// Respond without serving the request.
    Respond(Reply),
}

/// Returns what the fault of a request, if any, does before the request is served.
pub fn choose_fault_action(
    state: &mut State,
    route: Route,
    request: &IncomingRequest,
) -> FaultAction {
    let State { faults, switches, .. } = state;
    let fault = faults
        .take_fault(&request.method, route, &request.path)
        .or_else(|| faults.draw_random_fault(switches.fault_rate, &switches.fault_kinds));
    let Some(fault) = fault else { return FaultAction::Proceed(None) };
    match fault.kind {
        FaultKind::Status if !fault.acts => FaultAction::Respond(fault_reply(&fault)),
        FaultKind::DropBefore => FaultAction::Drop { read: true },
        FaultKind::DropUnread => FaultAction::Drop { read: false },
        FaultKind::Delay => FaultAction::Delay(seconds_to_duration(fault.seconds)),
        // The call itself then gets the 401.
        FaultKind::ExpireToken => {
            state.tokens.revoke(&request.headers);
            FaultAction::Proceed(None)
        }
        FaultKind::Status | FaultKind::DropAfter | FaultKind::Truncate | FaultKind::Garble => {
            FaultAction::Proceed(Some(fault))
        }
    }
}

/// Returns the response of a `Status` fault. Headers that are not valid are left out.
fn fault_reply(fault: &Fault) -> Reply {
    let mut reply = Reply::empty(status(fault.status));
    reply.body = ReplyBody::Full(Bytes::from(fault.body.clone()));
    for (name, value) in &fault.headers {
        if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
            reply = reply.with_text(name, value);
        }
    }
    reply
}

/// Applies a fault to the response of a request that was served.
pub fn apply_fault(state: &mut State, mut reply: Reply, fault: &Fault) -> ExchangeOutcome {
    match (fault.kind, &reply.body) {
        (FaultKind::DropAfter, _) => ExchangeOutcome::Dropped { read: true },
        (FaultKind::Status, _) => ExchangeOutcome::Answered(fault_reply(fault)),
        (FaultKind::Truncate, ReplyBody::Full(body)) => {
            let keep = fault.keep.unwrap_or(body.len() / 2);
            ExchangeOutcome::Truncated(reply, keep)
        }
        (FaultKind::Truncate, ReplyBody::Spooled { start, end, .. }) => {
            let keep = fault.keep.unwrap_or(((end - start) / 2) as usize);
            ExchangeOutcome::Truncated(reply, keep)
        }
        (FaultKind::Garble, ReplyBody::Full(body)) => {
            reply.body = ReplyBody::Full(state.faults.garble(body));
            ExchangeOutcome::Answered(reply)
        }
        _ => ExchangeOutcome::Answered(reply),
    }
}
