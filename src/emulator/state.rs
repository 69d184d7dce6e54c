//! All that the emulator knows, behind its one lock; and the helpers that its calls share.

use std::collections::HashMap;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, Method, StatusCode};
use uuid::Uuid;

use super::blob::results::Results;
use super::clock::Tick;
use super::control::faults::Faults;
use super::control::request_log::RequestLog;
use super::control::switches::{Switches, ThrottleResponse};
use super::inventory::library::Library;
use super::inventory::machine::{Machine, Machines};
use super::inventory::remote_files::RemoteFiles;
use super::inventory::upload::UploadForm;
use super::login::tokens::{Application, TokenStore};
use super::quota::{ExceededRate, Quotas, format_timespan};
use super::session::action::View;
use super::session::action_store::Actions;
use super::session::lifecycle::EventQueue;
use super::session::script::Behaviour;
use super::session::session_counts::SessionCounts;
use super::wire::reply::{ApiError, Reply};
use super::wire::routes::{Route, RouteMatch};
use crate::config::Limits;

#[derive(Clone, Debug)]
pub(super) struct Addresses {
    pub api: String,
    pub login: String,
    pub blob: String,
    /// Served on every interface: the addresses are those of the host that was called.
    pub wildcard_bind: Option<WildcardBind>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct WildcardBind {
    pub scheme: &'static str,
    pub api_port: u16,
    pub blob_port: u16,
}

impl Addresses {
    /// Takes on the host that a request names, where any may be named.
    pub fn adopt_host_header(&mut self, headers: &HeaderMap) {
        let Some(WildcardBind { scheme, api_port, blob_port }) = self.wildcard_bind else { return };
        let host = headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
        let Some(authority) = host.and_then(|host| host.parse::<http::uri::Authority>().ok())
        else {
            return;
        };
        let name = authority.host();
        self.api = format!("{scheme}://{name}:{api_port}");
        self.login = self.api.clone();
        self.blob = format!("{scheme}://{name}:{blob_port}");
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub limits: Limits,
    pub switches: Switches,
    pub addresses: Addresses,
    pub speed: f64,
    pub tenant_id: String,
    pub applications: Vec<Application>,
    pub tokens: TokenStore,
    pub machines: Machines,
    pub actions: Actions,
    pub events: EventQueue,
    pub session_counts: SessionCounts,
    pub library: Library,
    pub scripts: HashMap<String, Behaviour>,
    pub files: RemoteFiles,
    pub results: Results,
    pub quotas: Quotas,
    pub faults: Faults,
    pub log: RequestLog,
    pub rng: Rng,
    /// Own time that was jumped over.
    pub clock_offset: Tick,
    /// Wall time of the request that is being served.
    pub wall_now: f64,
}

/// A request as it came in, whichever way.
#[derive(Clone, Debug)]
pub(super) struct IncomingRequest {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body was larger than is kept.
    pub body_too_large: bool,
    /// What the body says, of an upload.
    pub upload: Option<Result<UploadForm, String>>,
}

impl State {
    pub fn new_uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_le_bytes()).into_uuid()
    }

    pub fn view(&self, now: Tick) -> View<'_> {
        View { now, switches: &self.switches }
    }

    /// `{"@odata.context":"..."` of an entity set.
    pub fn open_odata_body(&self, set: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(1024);
        out.extend_from_slice(b"{\"@odata.context\":\"");
        let api = self.switches.context_host.as_ref().unwrap_or(&self.addresses.api);
        out.extend_from_slice(api.as_bytes());
        out.extend_from_slice(b"/api/$metadata#");
        out.extend_from_slice(set.as_bytes());
        out.push(b'"');
        out
    }

    pub fn machine_entity(&self, machine: &Machine) -> Reply {
        let mut out = self.open_odata_body("Machines/$entity");
        out.push(b',');
        machine.write(&mut out);
        out.push(b'}');
        Reply::entity(StatusCode::OK, out)
    }

    pub fn action_entity(&self, action_index: u32, status: StatusCode, now: Tick) -> Reply {
        let mut out = self.open_odata_body("MachineActions/$entity");
        out.push(b',');
        if let Some(action) = self.actions.get(action_index) {
            action.write(&mut out, self.view(now));
        }
        out.push(b'}');
        Reply::entity(status, out)
    }

    /// Serves a request of the API; the order of what is checked is token, permission, quota, request.
    pub fn serve(&mut self, request: &IncomingRequest, matched: &RouteMatch, now: Tick) -> Reply {
        let tracking = self.new_uuid();
        let mut reply = match self.authorize_and_dispatch(request, matched, now) {
            Ok(reply) => reply,
            Err(error) => error.into_reply(tracking),
        };
        let mut id = Uuid::encode_buffer();
        let id = tracking.hyphenated().encode_lower(&mut id);
        if let Ok(value) = http::HeaderValue::from_str(id) {
            reply.headers.insert(http::HeaderName::from_static("mise-correlation-id"), value);
        }
        reply.headers.insert(
            http::header::STRICT_TRANSPORT_SECURITY,
            http::HeaderValue::from_static("max-age=31536000; includeSubDomains"),
        );
        reply
    }

    fn authorize_and_dispatch(
        &mut self,
        request: &IncomingRequest,
        matched: &RouteMatch,
        now: Tick,
    ) -> Result<Reply, ApiError> {
        let route = matched.route();
        let application =
            self.tokens.authorize(&request.headers, route, &self.switches, now)?.application;
        match matched {
            RouteMatch::Unknown => {
                return Err(ApiError::new(
                    StatusCode::NOT_FOUND,
                    "NotFound",
                    "Resource not found.",
                ));
            }
            RouteMatch::WrongMethod => {
                let message = "The requested resource does not support this HTTP method.";
                return Err(ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "MethodNotAllowed",
                    message,
                ));
            }
            _ => {}
        }
        self.check_rate_limit(application, route, now)?;
        let served = self.dispatch(request, matched, application, now);
        let refused =
            matches!(&served, Err(error) if error.status == StatusCode::TOO_MANY_REQUESTS);
        if !refused || self.switches.refused_calls_count {
            self.record_call(application, route, now);
        }
        served
    }

    fn dispatch(
        &mut self,
        request: &IncomingRequest,
        matched: &RouteMatch,
        application: u32,
        now: Tick,
    ) -> Result<Reply, ApiError> {
        if request.body_too_large {
            return Err(match matched {
                RouteMatch::UploadLibraryFile => self.upload_too_large(),
                _ => ApiError::bad_request("InvalidRequestBody", "The request body is too large."),
            });
        }
        match matched {
            RouteMatch::RunLiveResponse { machine } => {
                self.submit(request, machine, application, now)
            }
            RouteMatch::GetMachineAction { id } => self.get_action(id, now),
            RouteMatch::ListMachineActions { count_only } => {
                self.list_actions(&request.query, *count_only, now)
            }
            RouteMatch::GetResultLink { id, arguments } => self.result_link(id, arguments, now),
            RouteMatch::CancelMachineAction { id } => self.cancel(request, id, application, now),
            RouteMatch::ListLibraryFiles => Ok(self.list_library()),
            RouteMatch::UploadLibraryFile => self.upload(request, application, now),
            RouteMatch::DeleteLibraryFile { name } => self.delete_from_library(name),
            RouteMatch::GetMachine { key } => self.get_machine(key),
            RouteMatch::ListMachines { count_only } => {
                self.list_machines(&request.query, *count_only)
            }
            RouteMatch::FindMachinesByIp { arguments } => self.find_by_ip(arguments, now),
            RouteMatch::FindMachinesByTag => self.find_by_tag(&request.query),
            RouteMatch::Unknown | RouteMatch::WrongMethod => {
                Err(ApiError::not_found("Resource not found."))
            }
        }
    }

    /// Who an application appears as: its client id, as captured (facts 6.1).
    pub fn requestor(&self, application: u32) -> String {
        self.applications
            .get(application as usize)
            .map_or_else(String::new, |known| known.client_id.clone())
    }

    fn check_rate_limit(
        &mut self,
        application: u32,
        route: Route,
        now: Tick,
    ) -> Result<(), ApiError> {
        use super::control::switches::WindowKind;
        let rates =
            if route == Route::RunLiveResponse { &self.limits.submit } else { &self.limits.read };
        let key = (application, route);
        if self.quotas.find_exceeded(key, rates, WindowKind::Sliding, now).is_some() {
            self.log.violations.rate += 1;
        }
        let Some(exceeded) = self.quotas.find_exceeded(key, rates, self.switches.windows, now)
        else {
            return Ok(());
        };
        if self.switches.refused_calls_count {
            self.quotas.record(key, rates, now);
        }
        Err(self.rate_limit_error(exceeded))
    }

    fn record_call(&mut self, application: u32, route: Route, now: Tick) {
        let rates =
            if route == Route::RunLiveResponse { &self.limits.submit } else { &self.limits.read };
        self.quotas.record((application, route), rates, now);
    }

    /// The captured text (facts 10.3); seconds are the wall's.
    fn rate_limit_error(&self, exceeded: ExceededRate) -> ApiError {
        let wait = (super::clock::seconds(exceeded.wait) / self.speed).ceil().max(1.0) as u64;
        let message = quota_message(exceeded.rate.count, exceeded.rate.per, wait);
        let mut error = throttle_error(self.switches.rate_answer, message);
        error.target = Some(self.tenant_id.clone());
        error.retry_after = self.switches.rate_retry_after.then_some(wait);
        error
    }

    /// Another body than a rate's, unless a switch says so, and no Retry-After (facts 15, row 2).
    pub fn session_cap_error(&self) -> ApiError {
        let sessions = self.limits.sessions;
        let message = match self.switches.cap_answer {
            ThrottleResponse::Full => {
                let wait = (60.0 / self.speed).ceil().max(1.0) as u64;
                quota_message(sessions, 60.0, wait)
            }
            _ => format!("Too many requests: {sessions} live response sessions are running."),
        };
        throttle_error(self.switches.cap_answer, message)
    }
}

fn quota_message(count: u32, per: f64, wait: u64) -> String {
    format!(
        "API calls quota exceeded! Maximum allowed {count} per {} for the key Destination+TenantID+AppID. You can send requests again in {wait} seconds.",
        format_timespan(per),
    )
}

fn throttle_error(answer: ThrottleResponse, message: String) -> ApiError {
    let code = if answer == ThrottleResponse::Full { "429" } else { "TooManyRequests" };
    let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, message);
    match answer {
        ThrottleResponse::Full => {}
        ThrottleResponse::Plain if error.message.contains("quota exceeded") => {
            "Too many requests.".clone_into(&mut error.message);
        }
        ThrottleResponse::Plain => {}
        ThrottleResponse::Empty => error.raw = Some(("", Bytes::new())),
        ThrottleResponse::Html => {
            let page = "<html><head><title>429 Too Many Requests</title></head></html>";
            error.raw = Some(("text/html", Bytes::from_static(page.as_bytes())));
        }
    }
    error
}
