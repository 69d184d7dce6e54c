//! Serves one API request: checks the token and the rate limits, then calls the route's handler.

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderName, HeaderValue, StatusCode};
use uuid::Uuid;

use crate::config::{Limits, Rate};
use crate::emulator::clock::{Tick, seconds};
use crate::emulator::control::switches::{TenantState, ThrottleResponse, WindowKind};
use crate::emulator::quota::{ExceededRate, quota_message, throttle_error};
use crate::emulator::state::State;
use crate::emulator::wire::not_emulated::{is_api_path, not_emulated};
use crate::emulator::wire::reply::{ApiError, Reply};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::{Route, RouteMatch};

impl State {
    /// Serves an API request. Checks the token first, then the permission, the rate limits and the
    /// request itself.
    pub fn serve(&mut self, request: &IncomingRequest, matched: &RouteMatch, now: Tick) -> Reply {
        let tracking = self.new_uuid();
        let mut reply = match self.authorize_and_dispatch(request, matched, now) {
            Ok(reply) => reply,
            Err(error) => error.into_reply(tracking),
        };
        let mut id = Uuid::encode_buffer();
        let id = tracking.hyphenated().encode_lower(&mut id);
        if let Ok(value) = HeaderValue::from_str(id) {
            reply.headers.insert(HeaderName::from_static("mise-correlation-id"), value);
        }
        reply.headers.insert(
            STRICT_TRANSPORT_SECURITY,
            HeaderValue::from_static("max-age=31536000; includeSubDomains"),
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
        if *matched == RouteMatch::Unknown && !is_api_path(&request.path) {
            return Err(not_emulated(&request.method, &request.path));
        }
        let grant = self.tokens.authorize(&request.headers, route, &self.switches, now)?;
        let application = grant.application;
        check_tenant(self.switches.tenant)?;
        self.caller = grant.person().map(|person| person.name.clone());
        match matched {
            RouteMatch::Unknown => return Err(self.unknown_path(&request.method, &request.path)),
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
        // A submit over the session cap is also a 429. Like one over a rate, it uses no quota
        // unless a switch says so.
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
        if matches!(matched.route(), Route::GetMachine | Route::ListMachines) {
            self.machines.report_daily(now);
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
                self.list_machines(&request.query, *count_only, now)
            }
            RouteMatch::FindMachinesByIp { arguments } => self.find_by_ip(arguments, now),
            RouteMatch::FindMachinesByTag => self.find_by_tag(&request.query),
            RouteMatch::Unknown | RouteMatch::WrongMethod => {
                Err(not_emulated(&request.method, &request.path))
            }
        }
    }

    /// Returns 429 if one of the route's windows is full, and counts the violation.
    fn check_rate_limit(
        &mut self,
        application: u32,
        route: Route,
        now: Tick,
    ) -> Result<(), ApiError> {
        let rates = rates_of(&self.limits, route);
        let key = (application, route);
        // A violation is what a sliding window refuses, even if the switch says `fixed`: clients
        // are held to the strict reading of the limit.
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
        self.quotas.record((application, route), rates_of(&self.limits, route), now);
    }

    /// Returns the 429 of a rate, with the captured text (docs/service.md, section 10.3).
    fn rate_limit_error(&self, exceeded: ExceededRate) -> ApiError {
        // Clients sleep in wall time, so the wait is given in wall seconds, at least 1.
        let wait = (seconds(exceeded.wait) / self.speed).ceil().max(1.0) as u64;
        let message = quota_message(exceeded.rate.count, exceeded.rate.per, wait);
        let mut error = throttle_error(self.switches.rate_answer, message);
        error.target = Some(self.tenant_id.clone());
        error.retry_after = self.switches.rate_retry_after.then_some(wait);
        error
    }

    /// Returns the 429 of a submit over the session cap. It has no Retry-After, and its text
    /// differs from that of a rate unless a switch says otherwise (docs/service.md, section 15, row
    /// 2).
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

/// Returns the error of a tenant that may not use the API (docs/service.md, section 19).
fn check_tenant(tenant: TenantState) -> Result<(), ApiError> {
    let (status, why) = match tenant {
        TenantState::Active => return Ok(()),
        TenantState::Inactive => (StatusCode::UNAUTHORIZED, "Account mode is inactive"),
        TenantState::NoLicense => (StatusCode::UNAUTHORIZED, "No Tvm license"),
        TenantState::Suspended => (StatusCode::FORBIDDEN, "Suspended account mode"),
    };
    let message = format!("Unauthorized request - reason of failure: {why}");
    Err(ApiError::new(status, "Unauthorized", message))
}

fn rates_of(limits: &Limits, route: Route) -> &[Rate] {
    if route == Route::RunLiveResponse { &limits.submit } else { &limits.read }
}
