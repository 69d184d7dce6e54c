//! The way of every call, and the one place that sees all of it:
//!
//! 1. limits: stand in line for the endpoint's window;
//! 2. auth: a token, fetched early enough; dropped and fetched once more when it is refused;
//! 3. transport: one exchange, never repeated below this place;
//! 4. classify: an answer, a refusal, or nothing that could be told;
//! 5. decode: content coding here, the typed model at the caller;
//! 6. retry: a pure decision, in [`Pipeline::call`]; a submit makes its own in `session::submit`.

mod blob_storage;
mod body;
mod call;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

pub use call::ApiCall;

use crate::auth::{AccessToken, TokenCache, parse_claims_challenge};
use crate::classify::{self, ErrorContext, Throttle};
use crate::clock::{Clock, seconds_to_duration};
use crate::config::ClientOptions;
use crate::error::{Error, Kind, Result};
use crate::limits::{CallPermit, Quota, QuotaRegistry};
use crate::retry::{self, AttemptFailure, Decision, RetryBudget, RetryPolicy};
use crate::secret::SecretUrl;
use crate::slow_wait;
use crate::state::settings::StoreSettings;
use crate::state::{QuotaKey, memory_warning};
use crate::trace::{self, LOG_TARGET};
use crate::transport::{Destination, Request, Transport};

/// A success.
pub struct ApiResponse {
    pub status: StatusCode,
    pub body: Bytes,
}

impl fmt::Debug for ApiResponse {
    /// Without the body, which may be a result link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiResponse({}, {} bytes)", self.status.as_u16(), self.body.len())
    }
}

/// What one exchange came to.
#[derive(Debug)]
pub enum AttemptOutcome {
    Succeeded(ApiResponse),
    /// The service said no.
    Refused(Error),
    /// The token was refused, and is dropped: with a fresh one the call may go again, once.
    TokenRefused(Error),
    Throttled(Throttle, Error),
    /// No byte of the request left, and the next try may do better.
    NotSent(Error),
    /// The request may have been acted upon: a lost answer, or a 5xx.
    Ambiguous(Error),
}

pub struct Pipeline {
    pub options: ClientOptions,
    pub clock: Clock,
    pub transport: Arc<dyn Transport>,
    tokens: TokenCache,
    quotas: Arc<QuotaRegistry>,
    quota: Mutex<Option<(QuotaKey, Arc<Quota>)>>,
    budget: RetryBudget,
}

impl Pipeline {
    pub fn new(
        options: ClientOptions,
        transport: Arc<dyn Transport>,
        tokens: TokenCache,
        quotas: Arc<QuotaRegistry>,
        clock: Clock,
    ) -> Self {
        let budget = RetryBudget::default();
        Self { options, clock, transport, tokens, quotas, quota: Mutex::new(None), budget }
    }

    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    /// What the service counts our limits by, and what is shared under it. Known once there is a token.
    pub async fn shared_quota(&self) -> Result<(QuotaKey, Arc<Quota>)> {
        let known = self.quota.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let claims = self.tokens.get_token().await?.claims.clone();
        let key = QuotaKey {
            host: self.options.endpoint.authority().to_owned(),
            tenant: claims.tid.unwrap_or_default(),
            application: claims.appid.unwrap_or_default(),
        };
        let ClientOptions { state, limits, connect_timeout, request_timeout, network, .. } =
            &self.options;
        let settings = StoreSettings {
            ca_bundle: network.ca_bundle.clone(),
            ..StoreSettings::new(&key, limits, self.clock)
        };
        // A call that lasts longer than this is its dead process's.
        let call_lease = connect_timeout + 2.0 * request_timeout;
        let quota = self.quotas.get_with(state.expose(), settings, call_lease).await?;
        if !quota.store().is_shared() {
            memory_warning::warn_once();
        }
        let mut known = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get_or_insert((key, quota)).clone())
    }

    /// What is shared, where a token has told it already.
    pub fn quota_if_loaded(&self) -> Option<Arc<Quota>> {
        self.quota
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|(_, quota)| quota.clone())
    }

    /// Makes the call and decodes its answer, again where that may help and does no harm.
    pub async fn call<T>(&self, call: &ApiCall, decode: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        let (_, quota) = self.shared_quota().await?;
        let deadline = self.clock.now() + self.options.max_wait;
        let mut attempt = 0;
        let mut token_was_refused = false;
        loop {
            attempt += 1;
            let permit = self.wait_in_queue(call, &quota, deadline).await?;
            let (outcome, error) =
                match trace::with_attempt(attempt, self.attempt(call, permit)).await {
                    AttemptOutcome::Succeeded(answer) => match decode(&answer.body) {
                        Ok(value) => {
                            self.budget.refill();
                            return Ok(value);
                        }
                        Err(mut error) => {
                            error.status = Some(answer.status.as_u16());
                            error.message = format!(
                                "could not {}: {}",
                                call.operation.description(),
                                error.message
                            );
                            (AttemptFailure::NoResponse, call.annotate(error))
                        }
                    },
                    AttemptOutcome::TokenRefused(error) if !token_was_refused => {
                        log::warn!(target: LOG_TARGET, "{error}; trying again with a fresh token");
                        token_was_refused = true;
                        continue;
                    }
                    AttemptOutcome::Refused(error) | AttemptOutcome::TokenRefused(error) => {
                        return Err(error);
                    }
                    AttemptOutcome::Throttled(throttle, error) => {
                        let wait = match throttle {
                            Throttle::Rate { wait } => wait,
                            Throttle::SessionCap => None,
                        };
                        (AttemptFailure::Status(429, wait), error)
                    }
                    AttemptOutcome::NotSent(error) => (AttemptFailure::NotSent, error),
                    AttemptOutcome::Ambiguous(error) => (
                        error.status.map_or(AttemptFailure::NoResponse, |status| {
                            AttemptFailure::Status(status, error.retry_after)
                        }),
                        error,
                    ),
                };
            let idempotent = call.operation.is_idempotent();
            let decision = retry::decide(
                attempt,
                &outcome,
                idempotent,
                &RetryPolicy::default(),
                fastrand::f64(),
            );
            let decision = self.budget.spend(&outcome, decision);
            // A 429 holds back every call of the endpoint, be this one given up or not.
            if let (AttemptFailure::Status(429, _), Decision::Retry { after }) = (outcome, decision)
            {
                quota.block_window(call.operation, after).await?;
            }
            match decision {
                Decision::Retry { after } if self.clock.now() + after <= deadline => {
                    self.wait_to_retry(&outcome, after, &error).await;
                }
                _ => return Err(error),
            }
        }
    }

    /// After a 429 the line itself is held; anything else holds back this call alone.
    async fn wait_to_retry(&self, outcome: &AttemptFailure, after: f64, error: &Error) {
        log::warn!(target: LOG_TARGET, "{error}; trying again in {after:.1} s");
        if !matches!(outcome, AttemptFailure::Status(429, _)) {
            self.clock.sleep(after).await;
        }
    }

    async fn wait_in_queue(
        &self,
        call: &ApiCall,
        quota: &Quota,
        deadline: f64,
    ) -> Result<CallPermit> {
        let (remaining, doing) =
            (seconds_to_duration(deadline - self.clock.now()), call.operation.description());
        let what = || {
            format!(
                "the turn to {}, in {:.0} s perhaps",
                doing,
                quota.expected_wait(call.operation)
            )
        };
        let entering = slow_wait::warn_if_slow(self.clock, what, quota.admit_call(call.operation));
        if let Ok(entered) = tokio::time::timeout(remaining, entering).await {
            return entered.map_err(|error| call.annotate(error));
        }
        let max_wait = self.options.max_wait;
        let message = format!("could not {doing}: no turn within max_wait, {max_wait} s");
        let mut error = Error::new(Kind::Throttled, message).with_hint(
            "the service's limit for this call is used up, by this process or by others with the same application: \
             call less often, or raise max_wait",
        );
        error.retry_after = Some(quota.expected_wait(call.operation));
        Err(call.annotate(error))
    }

    /// One exchange, counted by `pass` from its start to its end.
    pub async fn attempt(&self, call: &ApiCall, permit: CallPermit) -> AttemptOutcome {
        let token = match self.tokens.get_token().await {
            Ok(token) => token,
            Err(error) => return AttemptOutcome::Refused(call.annotate(error)),
        };
        let attempt = self.exchange(call, &token).await;
        drop(permit);
        attempt
    }

    async fn exchange(&self, call: &ApiCall, token: &Arc<AccessToken>) -> AttemptOutcome {
        let request = match self.request(call, token) {
            Ok(request) => request,
            Err(error) => return AttemptOutcome::Refused(call.annotate(error)),
        };
        let answer = match self.transport.send(request).await {
            Ok(response) => body::read(response).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok((status, headers, body)) => {
                self.classify_response(call, token, status, &headers, body)
            }
            Err(failure) => {
                let mut error = call.annotate(failure.error);
                error.message =
                    format!("could not {}: {}", call.operation.description(), error.message);
                match (failure.sent, error.retryable) {
                    (true, _) => AttemptOutcome::Ambiguous(error),
                    (false, true) => AttemptOutcome::NotSent(error),
                    (false, false) => AttemptOutcome::Refused(error),
                }
            }
        }
    }

    fn classify_response(
        &self,
        call: &ApiCall,
        token: &Arc<AccessToken>,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> AttemptOutcome {
        if status.is_success() {
            return AttemptOutcome::Succeeded(ApiResponse { status, body });
        }
        let context = ErrorContext {
            machine_id: call.machine_id.clone(),
            action_id: call.action_id.clone(),
            tenant_id: self.tokens.tenant_id(),
            subject: call.file_name.clone(),
            ..ErrorContext::new(call.operation)
        };
        let now = self.clock.now();
        let error = classify::error_from_response(&context, status, headers, &body, now);
        match status.as_u16() {
            401 => self.token_refused(token, headers, error),
            429 => AttemptOutcome::Throttled(
                classify::classify_throttle(call.operation, headers, &body, now),
                error,
            ),
            408 | 500..=599 => AttemptOutcome::Ambiguous(error),
            _ => AttemptOutcome::Refused(error),
        }
    }

    fn token_refused(
        &self,
        token: &Arc<AccessToken>,
        headers: &HeaderMap,
        mut error: Error,
    ) -> AttemptOutcome {
        let claims = parse_claims_challenge(headers);
        if claims.is_some() {
            error.hint = Some(CHALLENGED.to_owned());
        }
        self.tokens.invalidate(token, claims);
        AttemptOutcome::TokenRefused(error)
    }

    fn request(&self, call: &ApiCall, token: &AccessToken) -> Result<Request> {
        let url = self
            .options
            .endpoint
            .join(&call.path)
            .map_err(|_| Error::invalid("the call's path is not a URL"))?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.authorization_header()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(content_type) = &call.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        Ok(Request {
            destination: Destination::Service,
            method: call.method.clone(),
            url: SecretUrl::from(url),
            headers,
            body: call.body.clone(),
            timeout: seconds_to_duration(self.options.request_timeout),
        })
    }
}

const CHALLENGED: &str = "the service wants a token with other claims (conditional access: place, risk, a session that \
    was ended), and a fresh one did not have them: ask the tenant's administrators, or sign in anew";
