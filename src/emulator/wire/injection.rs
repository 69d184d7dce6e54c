//! What an injected fault does to a request and to its response.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;

use crate::clock::seconds_to_duration;
use crate::emulator::clock::Tick;
use crate::emulator::control::fault::{Fault, FaultKind};
use crate::emulator::state::State;
use crate::emulator::wire::reply::{
    ApiError, ExchangeOutcome, Reply, ReplyBody, azure_error, status,
};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::Route;
use crate::emulator::wire::serve::encode;

/// What a fault does before the request is served.
pub enum FaultAction {
    /// Serve the request. A fault here changes the response.
    Proceed(Option<Fault>),
    /// Wait, then serve the request.
    Delay(Duration),
    /// Serve the request, then wait.
    DelayAfter(Duration),
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
    let State { faults, switches, .. } = &mut *state;
    let fault = faults
        .take_fault(&request.method, route, &request.path)
        .or_else(|| faults.draw_random_fault(switches.fault_rate, &switches.fault_kinds));
    let Some(fault) = fault else { return FaultAction::Proceed(None) };
    if let Some(notes) = state.log.feed.as_mut().and_then(|feed| feed.notes(request.number)) {
        notes.fault = Some(fault.kind);
    }
    match fault.kind {
        FaultKind::Status | FaultKind::Page if !fault.acts => {
            FaultAction::Respond(fault_reply(&fault, state))
        }
        FaultKind::DropBefore => FaultAction::Drop { read: true },
        FaultKind::DropUnread => FaultAction::Drop { read: false },
        FaultKind::Delay if fault.acts => {
            FaultAction::DelayAfter(seconds_to_duration(fault.seconds))
        }
        FaultKind::Delay => FaultAction::Delay(seconds_to_duration(fault.seconds)),
        // The call itself then gets the 401.
        FaultKind::ExpireToken => {
            state.tokens.revoke(&request.headers);
            FaultAction::Proceed(None)
        }
        FaultKind::Status
        | FaultKind::Page
        | FaultKind::DropAfter
        | FaultKind::Truncate
        | FaultKind::Garble
        | FaultKind::WrongEntity => FaultAction::Proceed(Some(fault)),
    }
}

/// Returns the response of a `Status` or `Page` fault. Headers that are not valid are left out.
fn fault_reply(fault: &Fault, state: &mut State) -> Reply {
    let mut reply = match (&fault.code, &fault.x_ms_error_code) {
        (_, Some(code)) => {
            let message = "The emulator was asked for this error.";
            *azure_error(status(fault.status), code, message)
        }
        (Some(code), None) => {
            let message = match code.as_str() {
                "ActiveRequestAlreadyExists" => "Action is already in progress",
                _ => "The emulator was asked for this error.",
            };
            ApiError::new(status(fault.status), code, message).into_reply(state.new_uuid())
        }
        (None, None) => Reply::empty(status(fault.status)),
    };
    let decoded = fault.body_base64.as_ref().and_then(|text| STANDARD.decode(text).ok());
    if let Some(body) = decoded {
        reply.body = ReplyBody::Full(body.into());
    } else if !fault.body.is_empty() {
        reply.body = ReplyBody::Full(Bytes::from(fault.body.clone()));
    }
    if fault.x_ms_error_code.is_some() {
        reply = state.with_storage_headers(reply);
    }
    let default_type = (fault.kind == FaultKind::Page).then_some("text/html");
    if let Some(content_type) = fault.content_type.as_deref().or(default_type) {
        reply = reply.with_text(CONTENT_TYPE, content_type);
    }
    for (name, value) in &fault.headers {
        if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
            reply = reply.with_text(name, value);
        }
    }
    reply
}

/// Applies a fault to the response of a request that was served.
pub fn apply_fault(
    state: &mut State,
    mut reply: Reply,
    fault: &Fault,
    request: &IncomingRequest,
    now: Tick,
) -> ExchangeOutcome {
    match (fault.kind, &reply.body) {
        (FaultKind::DropAfter, _) => ExchangeOutcome::Dropped { read: true },
        (FaultKind::Status | FaultKind::Page, _) => {
            ExchangeOutcome::Answered(fault_reply(fault, state))
        }
        (FaultKind::WrongEntity, _) => {
            let other = state.wrong_entity(reply, fault.entity.as_deref(), now);
            ExchangeOutcome::Answered(encode(other, request, state.switches.compression))
        }
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
