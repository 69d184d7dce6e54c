//! All that the emulator knows, behind its one lock; and the helpers that its calls share.

use std::collections::HashMap;

use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderMap, Method, StatusCode};
use uuid::Uuid;

use super::access::{Application, Tokens};
use super::action::View;
use super::actions::Actions;
use super::clock::Tick;
use super::faults::Faults;
use super::files::RemoteFiles;
use super::library::Library;
use super::life::Agenda;
use super::log::Log;
use super::machine::{Machine, Machines};
use super::open::OpenSessions;
use super::quota::{Full, Quotas, span};
use super::reply::{Refusal, Reply};
use super::results::Results;
use super::routes::{Route, Target};
use super::script::Behaviour;
use super::switches::{Answer429, Switches};
use super::upload::Upload;
use crate::config::Limits;

#[derive(Clone, Debug)]
pub(super) struct Addresses {
    pub api: String,
    pub login: String,
    pub blob: String,
    /// Served on every interface: the addresses are those of the host that was called.
    pub anywhere: Option<Anywhere>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Anywhere {
    pub scheme: &'static str,
    pub api_port: u16,
    pub blob_port: u16,
}

impl Addresses {
    /// Takes on the host that a call names, where any may be named.
    pub fn called_at(&mut self, headers: &HeaderMap) {
        let Some(Anywhere { scheme, api_port, blob_port }) = self.anywhere else { return };
        let host = headers.get(http::header::HOST).and_then(|value| value.to_str().ok());
        let Some(authority) = host.and_then(|host| host.parse::<http::uri::Authority>().ok()) else { return };
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
    pub tokens: Tokens,
    pub machines: Machines,
    pub actions: Actions,
    pub agenda: Agenda,
    pub open: OpenSessions,
    pub library: Library,
    pub scripts: HashMap<String, Behaviour>,
    pub files: RemoteFiles,
    pub results: Results,
    pub quotas: Quotas,
    pub faults: Faults,
    pub log: Log,
    pub rng: Rng,
    /// Own time that was jumped over.
    pub jumped: Tick,
    /// Wall time of the call that is being served.
    pub wall: f64,
}

/// A call as it came in, whichever way.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body was larger than is kept.
    pub overlong: bool,
    /// What the body says, of an upload.
    pub upload: Option<Result<Upload, String>>,
}

impl State {
    pub fn new_uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.u128(..).to_le_bytes()).into_uuid()
    }

    pub fn view(&self, now: Tick) -> View<'_> {
        View { now, switches: &self.switches }
    }

    /// `{"@odata.context":"..."` of an entity set.
    pub fn context(&self, set: &str) -> Vec<u8> {
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
        let mut out = self.context("Machines/$entity");
        out.push(b',');
        machine.write(&mut out);
        out.push(b'}');
        Reply::entity(StatusCode::OK, out)
    }

    pub fn action_entity(&self, at: u32, status: StatusCode, now: Tick) -> Reply {
        let mut out = self.context("MachineActions/$entity");
        out.push(b',');
        if let Some(action) = self.actions.get(at) {
            action.write(&mut out, self.view(now));
        }
        out.push(b'}');
        Reply::entity(status, out)
    }

    /// Serves a call of the API; the order of what is checked is token, permission, quota, request.
    pub fn serve(&mut self, call: &Call, target: &Target, now: Tick) -> Reply {
        let tracking = self.new_uuid();
        let mut reply = match self.admit_and_serve(call, target, now) {
            Ok(reply) => reply,
            Err(refusal) => refusal.into_reply(tracking),
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

    fn admit_and_serve(&mut self, call: &Call, target: &Target, now: Tick) -> Result<Reply, Refusal> {
        let route = target.route();
        let application = self.tokens.admit(&call.headers, route, &self.switches, now)?.application;
        match target {
            Target::Unknown => return Err(Refusal::new(StatusCode::NOT_FOUND, "NotFound", "Resource not found.")),
            Target::WrongMethod => {
                let message = "The requested resource does not support this HTTP method.";
                return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message));
            }
            _ => {}
        }
        self.admit_by_rate(application, route, now)?;
        let served = self.dispatch(call, target, application, now);
        let refused = matches!(&served, Err(refusal) if refusal.status == StatusCode::TOO_MANY_REQUESTS);
        if !refused || self.switches.refused_calls_count {
            self.count_call(application, route, now);
        }
        served
    }

    fn dispatch(&mut self, call: &Call, target: &Target, application: u32, now: Tick) -> Result<Reply, Refusal> {
        if call.overlong {
            return Err(match target {
                Target::UploadLibraryFile => self.too_big(),
                _ => Refusal::bad_request("InvalidRequestBody", "The request body is too large."),
            });
        }
        match target {
            Target::RunLiveResponse { machine } => self.submit(call, machine, application, now),
            Target::GetMachineAction { id } => self.get_action(id, now),
            Target::ListMachineActions { count_only } => self.list_actions(&call.query, *count_only, now),
            Target::GetResultLink { id, arguments } => self.result_link(id, arguments, now),
            Target::CancelMachineAction { id } => self.cancel(call, id, application, now),
            Target::ListLibraryFiles => Ok(self.list_library()),
            Target::UploadLibraryFile => self.upload(call, application, now),
            Target::DeleteLibraryFile { name } => self.delete_from_library(name),
            Target::GetMachine { key } => self.get_machine(key),
            Target::ListMachines { count_only } => self.list_machines(&call.query, *count_only),
            Target::FindMachinesByIp { arguments } => self.find_by_ip(arguments, now),
            Target::FindMachinesByTag => self.find_by_tag(&call.query),
            Target::Unknown | Target::WrongMethod => Err(Refusal::not_found("Resource not found.")),
        }
    }

    /// Who an application appears as: its client id, as captured (facts 6.1).
    pub fn requestor(&self, application: u32) -> String {
        self.applications.get(application as usize).map_or_else(String::new, |known| known.client_id.clone())
    }

    fn admit_by_rate(&mut self, application: u32, route: Route, now: Tick) -> Result<(), Refusal> {
        use super::switches::Windows;
        let rates = if route == Route::RunLiveResponse { &self.limits.submit } else { &self.limits.read };
        let key = (application, route);
        if self.quotas.full(key, rates, Windows::Sliding, now).is_some() {
            self.log.violations.rate += 1;
        }
        let Some(full) = self.quotas.full(key, rates, self.switches.windows, now) else { return Ok(()) };
        if self.switches.refused_calls_count {
            self.quotas.count(key, rates, now);
        }
        Err(self.over_rate(full))
    }

    fn count_call(&mut self, application: u32, route: Route, now: Tick) {
        let rates = if route == Route::RunLiveResponse { &self.limits.submit } else { &self.limits.read };
        self.quotas.count((application, route), rates, now);
    }

    /// The captured text (facts 10.3); seconds are the wall's.
    fn over_rate(&self, full: Full) -> Refusal {
        let wait = (super::clock::seconds(full.wait) / self.speed).ceil().max(1.0) as u64;
        let message = over_quota(full.rate.count, full.rate.per, wait);
        let mut refusal = refusal_429(self.switches.rate_answer, message);
        refusal.target = Some(self.tenant_id.clone());
        refusal.retry_after = self.switches.rate_retry_after.then_some(wait);
        refusal
    }

    /// Another body than a rate's, unless a switch says so, and no Retry-After (facts 15, row 2).
    pub fn over_cap(&self) -> Refusal {
        let sessions = self.limits.sessions;
        let message = match self.switches.cap_answer {
            Answer429::Full => {
                let wait = (60.0 / self.speed).ceil().max(1.0) as u64;
                over_quota(sessions, 60.0, wait)
            }
            _ => format!("Too many requests: {sessions} live response sessions are running."),
        };
        refusal_429(self.switches.cap_answer, message)
    }
}

fn over_quota(count: u32, per: f64, wait: u64) -> String {
    format!(
        "API calls quota exceeded! Maximum allowed {count} per {} for the key Destination+TenantID+AppID. You can send requests again in {wait} seconds.",
        span(per),
    )
}

fn refusal_429(answer: Answer429, message: String) -> Refusal {
    let code = if answer == Answer429::Full { "429" } else { "TooManyRequests" };
    let mut refusal = Refusal::new(StatusCode::TOO_MANY_REQUESTS, code, message);
    match answer {
        Answer429::Full => {}
        Answer429::Plain if refusal.message.contains("quota exceeded") => {
            "Too many requests.".clone_into(&mut refusal.message);
        }
        Answer429::Plain => {}
        Answer429::Empty => refusal.raw = Some(("", Bytes::new())),
        Answer429::Html => {
            let page = "<html><head><title>429 Too Many Requests</title></head></html>";
            refusal.raw = Some(("text/html", Bytes::from_static(page.as_bytes())));
        }
    }
    refusal
}
