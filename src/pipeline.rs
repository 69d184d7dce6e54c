//! The way of every call, and the one place that sees all of it:
//!
//! 1. limits: stand in line for the endpoint's window;
//! 2. auth: a token, fetched early enough; dropped and fetched once more when it is refused;
//! 3. transport: one exchange, never repeated below this place;
//! 4. classify: an answer, a refusal, or nothing that could be told;
//! 5. decode: content coding here, the typed model at the caller;
//! 6. retry: a pure decision, in [`Pipeline::call`]; a submit makes its own in `session::submit`.

mod body;
mod call;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode};

pub use call::Call;

use crate::auth::{AccessToken, TokenCache, claims_challenge};
use crate::classify::{self, Context, Throttle};
use crate::clock::{Clock, seconds_to_duration};
use crate::config::Options;
use crate::error::{Error, Kind, Result};
use crate::limits::{Pass, Quota, Quotas};
use crate::retry::{self, Budget, Decision, Outcome, Policy};
use crate::secret::SecretUrl;
use crate::state::store::Settings;
use crate::state::{QuotaKey, alone};
use crate::trace::{self, LOG};
use crate::transport::{Audience, Request, Transport};
use crate::waiting;

/// A success.
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl fmt::Debug for Answer {
    /// Without the body, which may be a result link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({}, {} bytes)", self.status.as_u16(), self.body.len())
    }
}

/// What one exchange came to.
#[derive(Debug)]
pub enum Attempt {
    Answered(Answer),
    /// The service said no.
    Refused(Error),
    /// The token was refused, and is dropped: with a fresh one the call may go again, once.
    TokenRefused(Error),
    Throttled(Throttle, Error),
    /// No byte of the request left, and the next try may do better.
    NotSent(Error),
    /// The request may have been acted upon: a lost answer, or a 5xx.
    Unclear(Error),
}

pub struct Pipeline {
    pub options: Options,
    pub clock: Clock,
    pub transport: Arc<dyn Transport>,
    tokens: TokenCache,
    quotas: Arc<Quotas>,
    quota: Mutex<Option<(QuotaKey, Arc<Quota>)>>,
    budget: Budget,
}

impl Pipeline {
    pub fn new(
        options: Options,
        transport: Arc<dyn Transport>,
        tokens: TokenCache,
        quotas: Arc<Quotas>,
        clock: Clock,
    ) -> Self {
        let budget = Budget::default();
        Self { options, clock, transport, tokens, quotas, quota: Mutex::new(None), budget }
    }

    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    /// What the service counts our limits by, and what is shared under it. Known once there is a token.
    pub async fn state(&self) -> Result<(QuotaKey, Arc<Quota>)> {
        let known = self.quota.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let claims = self.tokens.token().await?.claims.clone();
        let key = QuotaKey {
            host: self.options.endpoint.authority().to_owned(),
            tenant: claims.tid.unwrap_or_default(),
            application: claims.appid.unwrap_or_default(),
        };
        let Options { state, limits, connect_timeout, request_timeout, network, .. } = &self.options;
        let settings = Settings { ca_bundle: network.ca_bundle.clone(), ..Settings::new(&key, limits, self.clock) };
        // A call that lasts longer than this is its dead process's.
        let call_lease = connect_timeout + 2.0 * request_timeout;
        let quota = self.quotas.get_with(state.expose(), settings, call_lease).await?;
        if !quota.store().is_shared() {
            alone::warn_once();
        }
        let mut known = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.get_or_insert((key, quota)).clone())
    }

    /// What is shared, where a token has told it already.
    pub fn known_quota(&self) -> Option<Arc<Quota>> {
        self.quota.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|(_, quota)| quota.clone())
    }

    /// Makes the call and decodes its answer, again where that may help and does no harm.
    pub async fn call<T>(&self, call: &Call, decode: impl Fn(&[u8]) -> Result<T>) -> Result<T> {
        let (_, quota) = self.state().await?;
        let deadline = self.clock.now() + self.options.max_wait;
        let mut attempt = 0;
        let mut token_was_refused = false;
        loop {
            attempt += 1;
            let pass = self.stand_in_line(call, &quota, deadline).await?;
            let (outcome, error) = match trace::numbered(attempt, self.attempt(call, pass)).await {
                Attempt::Answered(answer) => match decode(&answer.body) {
                    Ok(value) => {
                        self.budget.refill();
                        return Ok(value);
                    }
                    Err(mut error) => {
                        error.status = Some(answer.status.as_u16());
                        error.message = format!("could not {}: {}", call.operation.doing(), error.message);
                        (Outcome::Lost, call.tell(error))
                    }
                },
                Attempt::TokenRefused(error) if !token_was_refused => {
                    log::warn!(target: LOG, "{error}; trying again with a fresh token");
                    token_was_refused = true;
                    continue;
                }
                Attempt::Refused(error) | Attempt::TokenRefused(error) => return Err(error),
                Attempt::Throttled(throttle, error) => {
                    let wait = match throttle {
                        Throttle::Rate { wait } => wait,
                        Throttle::SessionCap => None,
                    };
                    (Outcome::Status(429, wait), error)
                }
                Attempt::NotSent(error) => (Outcome::NotSent, error),
                Attempt::Unclear(error) => {
                    (error.status.map_or(Outcome::Lost, |status| Outcome::Status(status, error.retry_after)), error)
                }
            };
            let idempotent = call.operation.is_idempotent();
            let decision = retry::decide(attempt, &outcome, idempotent, &Policy::default(), fastrand::f64());
            let decision = self.budget.afford(&outcome, decision);
            // A 429 holds back every call of the endpoint, be this one given up or not.
            if let (Outcome::Status(429, _), Decision::Retry { after }) = (outcome, decision) {
                quota.hold(call.operation, after).await?;
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
    async fn wait_to_retry(&self, outcome: &Outcome, after: f64, error: &Error) {
        log::warn!(target: LOG, "{error}; trying again in {after:.1} s");
        if !matches!(outcome, Outcome::Status(429, _)) {
            self.clock.sleep(after).await;
        }
    }

    async fn stand_in_line(&self, call: &Call, quota: &Quota, deadline: f64) -> Result<Pass> {
        let (patience, doing) = (seconds_to_duration(deadline - self.clock.now()), call.operation.doing());
        let what = || format!("the turn to {}, in {:.0} s perhaps", doing, quota.expected_wait(call.operation));
        let entering = waiting::told(self.clock, what, quota.enter(call.operation));
        if let Ok(entered) = tokio::time::timeout(patience, entering).await {
            return entered.map_err(|error| call.tell(error));
        }
        let max_wait = self.options.max_wait;
        let message = format!("could not {doing}: no turn within max_wait, {max_wait} s");
        let mut error = Error::new(Kind::Throttled, message).with_hint(
            "the service's limit for this call is used up, by this process or by others with the same application: \
             call less often, or raise max_wait",
        );
        error.retry_after = Some(quota.expected_wait(call.operation));
        Err(call.tell(error))
    }

    /// One exchange, counted by `pass` from its start to its end.
    pub async fn attempt(&self, call: &Call, pass: Pass) -> Attempt {
        let token = match self.tokens.token().await {
            Ok(token) => token,
            Err(error) => return Attempt::Refused(call.tell(error)),
        };
        let attempt = self.exchange(call, &token).await;
        drop(pass);
        attempt
    }

    async fn exchange(&self, call: &Call, token: &Arc<AccessToken>) -> Attempt {
        let request = match self.request(call, token) {
            Ok(request) => request,
            Err(error) => return Attempt::Refused(call.tell(error)),
        };
        let answer = match self.transport.send(request).await {
            Ok(response) => body::read(response).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok((status, headers, body)) => self.judge(call, token, status, &headers, body),
            Err(failure) => {
                let mut error = call.tell(failure.error);
                error.message = format!("could not {}: {}", call.operation.doing(), error.message);
                match (failure.sent, error.retryable) {
                    (true, _) => Attempt::Unclear(error),
                    (false, true) => Attempt::NotSent(error),
                    (false, false) => Attempt::Refused(error),
                }
            }
        }
    }

    fn judge(
        &self,
        call: &Call,
        token: &Arc<AccessToken>,
        status: StatusCode,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Attempt {
        if status.is_success() {
            return Attempt::Answered(Answer { status, body });
        }
        let context = Context {
            machine_id: call.machine_id.clone(),
            action_id: call.action_id.clone(),
            tenant_id: self.tokens.tenant_id(),
            what: call.what.clone(),
            ..Context::new(call.operation)
        };
        let now = self.clock.now();
        let error = classify::refusal(&context, status, headers, &body, now);
        match status.as_u16() {
            401 => self.token_refused(token, headers, error),
            429 => Attempt::Throttled(classify::throttle(call.operation, headers, &body, now), error),
            408 | 500..=599 => Attempt::Unclear(error),
            _ => Attempt::Refused(error),
        }
    }

    fn token_refused(&self, token: &Arc<AccessToken>, headers: &HeaderMap, mut error: Error) -> Attempt {
        let claims = claims_challenge(headers);
        if claims.is_some() {
            error.hint = Some(CHALLENGED.to_owned());
        }
        self.tokens.refuse(token, claims);
        Attempt::TokenRefused(error)
    }

    fn request(&self, call: &Call, token: &AccessToken) -> Result<Request> {
        let url = self.options.endpoint.join(&call.path).map_err(|_| Error::invalid("the call's path is not a URL"))?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, token.header()?);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(content_type) = &call.content_type {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        Ok(Request {
            audience: Audience::Service,
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
