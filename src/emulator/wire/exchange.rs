//! One request from its arrival to its response: logs it, injects a fault, serves it.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, DATE, HeaderValue, ORIGIN};

use crate::emulator::Emulator;
use crate::emulator::control::fault::Fault;
use crate::emulator::control::request_log::RequestOutcome;
use crate::emulator::login::endpoints::is_login_path;
use crate::emulator::wire::cors;
use crate::emulator::wire::injection::{FaultAction, apply_fault, choose_fault_action};
use crate::emulator::wire::reply::{ExchangeOutcome, Reply, ReplyBody};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::{Route, RouteMatch};
use crate::emulator::wire::serve::read_upload;

/// Which of the emulator's hosts a request was sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualHost {
    /// The API and the login host. They differ by their paths.
    Api,
    /// A host that serves the API and nothing else.
    ApiOnly,
    /// A host that serves the login endpoints and nothing else.
    LoginOnly,
    Blob,
}

/// Where a container's health check asks.
pub const HEALTH_PATH: &str = "/healthz";

/// The body of a request.
pub struct ReceivedBody {
    pub body: Bytes,
    /// Whether the body was larger than the emulator keeps. `body` is then empty.
    pub body_too_large: bool,
}

impl Emulator {
    /// Serves a request, and dates the response.
    pub(in crate::emulator) async fn exchange(
        &self,
        vhost: VirtualHost,
        request: IncomingRequest,
        body: impl Future<Output = Option<ReceivedBody>>,
    ) -> ExchangeOutcome {
        if vhost == VirtualHost::Api && request.path == HEALTH_PATH {
            return ExchangeOutcome::Answered(health_reply());
        }
        let origin = request.headers.get(ORIGIN).cloned();
        let mut outcome = self.exchange_undated(vhost, request, body).await;
        if let ExchangeOutcome::Answered(reply) | ExchangeOutcome::Truncated(reply, _) =
            &mut outcome
        {
            let (mut state, now) = self.lock_now();
            // A fault may have set another date.
            if state.switches.date_header
                && !reply.headers.contains_key(DATE)
                && let Some(date) = state.date_header.at(now)
            {
                reply.headers.insert(DATE, date);
            }
            if let Some(origin) = origin {
                let allowed = state.switches.cors_origin.as_deref();
                cors::add_headers(&mut reply.headers, allowed, &origin);
            }
        }
        outcome
    }

    /// Serves a request. The body is read here, so that a fault can drop the connection before it.
    async fn exchange_undated(
        &self,
        vhost: VirtualHost,
        mut request: IncomingRequest,
        body: impl Future<Output = Option<ReceivedBody>>,
    ) -> ExchangeOutcome {
        let (route, matched) = resolve_route(vhost, &request);
        let (number, fault_action) = self.record_arrival(route, &mut request);
        // The transport drops this future if the client goes away. The guard then logs `Closed`.
        let mut entry = LogEntryGuard { emulator: self, number, ended: RequestOutcome::Closed };
        if matches!(fault_action, FaultAction::Drop { read: false }) {
            entry.ended = RequestOutcome::Dropped;
            return ExchangeOutcome::Dropped { read: false };
        }
        // `None` means that the client closed the connection within the body, so `Closed` is right.
        let Some(sent) = body.await else { return ExchangeOutcome::Dropped { read: true } };
        request.body_too_large = sent.body_too_large;
        request.body = sent.body;
        self.lock_state().log.record_body(number, &request.body);
        let (fault, late) = match fault_action {
            FaultAction::Proceed(fault) => (fault, None),
            FaultAction::Delay(time) => {
                tokio::time::sleep(time).await;
                (None, None)
            }
            FaultAction::DelayAfter(time) => (None, Some(time)),
            FaultAction::Drop { read } => {
                entry.ended = RequestOutcome::Dropped;
                return ExchangeOutcome::Dropped { read };
            }
            FaultAction::Respond(reply) => {
                entry.ended = RequestOutcome::Status(reply.status.as_u16());
                return ExchangeOutcome::Answered(reply);
            }
        };
        // Before the lock is taken: parsing and hashing 20 MB would hold up every other call.
        if route == Route::UploadLibraryFile && !request.body_too_large {
            request.upload = Some(read_upload(&request).await);
        }
        let reply = self.serve(route, matched.as_ref(), &request).await;
        if let Some(late) = late {
            tokio::time::sleep(late).await;
        }
        let outcome = self.apply_fault(fault.as_ref(), reply, &request);
        entry.ended = match &outcome {
            ExchangeOutcome::Answered(reply) | ExchangeOutcome::Truncated(reply, _) => {
                RequestOutcome::Status(reply.status.as_u16())
            }
            ExchangeOutcome::Dropped { .. } => RequestOutcome::Dropped,
        };
        outcome
    }

    /// Returns what the client sees of a response.
    fn apply_fault(
        &self,
        fault: Option<&Fault>,
        reply: Reply,
        request: &IncomingRequest,
    ) -> ExchangeOutcome {
        if let Some(fault) = fault {
            let (mut state, now) = self.lock_now();
            return apply_fault(&mut state, reply, fault, request, now);
        }
        // Only now: if the client went away before, it does not know of its action.
        if let Some(action) = reply.accepted {
            self.lock_state().submits.mark_settled(action);
        }
        ExchangeOutcome::Answered(reply)
    }

    /// Logs a request. Returns its number in the log and what its fault does first.
    fn record_arrival(&self, route: Route, request: &mut IncomingRequest) -> (u64, FaultAction) {
        let (mut state, now) = self.lock_now();
        let max_entries = state.switches.log_size;
        let number = state.log.record_arrival(route, request, now, max_entries);
        request.number = number;
        (number, choose_fault_action(&mut state, route, request))
    }
}

/// Says that the emulator serves, to a container's health check. It is neither logged nor faulty.
fn health_reply() -> Reply {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut reply = Reply::empty(StatusCode::OK).with_header(CONTENT_TYPE, text);
    reply.body = ReplyBody::Full(Bytes::from_static(b"ok\n"));
    reply
}

/// Returns the route of a request. Only API requests have a match.
fn resolve_route(vhost: VirtualHost, request: &IncomingRequest) -> (Route, Option<RouteMatch>) {
    match vhost {
        VirtualHost::Blob => return (Route::Blob, None),
        VirtualHost::LoginOnly => return (Route::Token, None),
        VirtualHost::Api if is_login_path(&request.path) => return (Route::Token, None),
        VirtualHost::Api | VirtualHost::ApiOnly => {}
    }
    let matched = RouteMatch::from_path(&request.method, &request.path);
    (matched.route(), Some(matched))
}

/// Logs how a request ended when it is dropped.
struct LogEntryGuard<'a> {
    emulator: &'a Emulator,
    number: u64,
    ended: RequestOutcome,
}

impl Drop for LogEntryGuard<'_> {
    fn drop(&mut self) {
        self.emulator.lock_state().log.record_end(self.number, self.ended);
    }
}
