//! The token in use: fetched once for all who wait, anew in good time, dropped when the service refuses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::tenant::validate_tenant_guid;
use super::{AccessToken, TokenSource};
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::text::sanitize;
use crate::trace::{self, LOG_TARGET};

type FetchResult = Result<Arc<AccessToken>>;
/// Driven by whoever waits for it; when none of them is left, it is dropped and its request with it.
type SharedFetch = Shared<BoxFuture<'static, FetchResult>>;

/// Seconds before its end that a long-lived token is renewed.
const REFRESH_MARGIN: f64 = 300.0;
/// Seconds between early renewals that brought nothing newer.
const REFRESH_RETRY_INTERVAL: f64 = 30.0;

/// A source's token, kept as long as it is good.
#[derive(Clone)]
pub struct TokenCache(Arc<Inner>);

struct Inner {
    source: Arc<dyn TokenSource>,
    tenant_id: Option<String>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cached: Option<CachedToken>,
    /// With the process that it runs in: after a fork, the other side's never ends.
    in_flight: Option<(u32, WeakShared<BoxFuture<'static, FetchResult>>)>,
    /// What the next token has to have, as the service's challenge said.
    claims: Option<String>,
    /// A flight from before a challenge brings a token that does not meet it.
    challenge_count: u64,
    last_tenant_id: Option<String>,
}

struct CachedToken {
    token: Arc<AccessToken>,
    /// From here on a newer one is fetched while this one still serves.
    refresh_at: f64,
    /// From here on it might expire on its way.
    usable_until: f64,
}

impl CachedToken {
    fn new(token: Arc<AccessToken>, now: f64) -> Self {
        // A tenth of a short life: a token of four minutes must not be renewed all the time.
        let margin = ((token.expires_at - now) / 10.0).clamp(0.0, REFRESH_MARGIN);
        let (refresh_at, usable_until) =
            (token.expires_at - margin, token.expires_at - margin / 5.0);
        Self { token, refresh_at, usable_until }
    }
}

impl TokenCache {
    /// `tenant_id`: tokens of another tenant are refused.
    pub fn new(
        source: Arc<dyn TokenSource>,
        tenant_id: Option<String>,
        clock: Clock,
    ) -> Result<Self> {
        tenant_id.as_deref().map(validate_tenant_guid).transpose()?;
        Ok(Self(Arc::new(Inner { source, tenant_id, clock, state: Mutex::default() })))
    }

    /// A token that is good, from the source where need be. Whoever calls meanwhile waits for the same fetch and shares
    /// its error; the next call tries anew.
    pub async fn get_token(&self) -> Result<Arc<AccessToken>> {
        let in_flight = {
            let now = self.0.clock.now();
            let mut state = self.0.state();
            match &mut state.cached {
                Some(cached) if now < cached.refresh_at => return Ok(Arc::clone(&cached.token)),
                Some(cached)
                    if now < cached.usable_until
                        && tokio::runtime::Handle::try_current().is_ok() =>
                {
                    let token = Arc::clone(&cached.token);
                    cached.refresh_at = now + REFRESH_RETRY_INTERVAL;
                    let in_flight = self.0.join_or_start_fetch(&mut state);
                    drop(state);
                    trace::spawn(in_flight.inspect(log_refresh_failure));
                    return Ok(token);
                }
                _ => self.0.join_or_start_fetch(&mut state),
            }
        };
        in_flight.await
    }

    /// Drops `token`, which the service refused, and not one that was fetched meanwhile. `claims`: what its challenge
    /// asked for, which goes to the source once.
    pub fn invalidate(&self, token: &Arc<AccessToken>, claims: Option<String>) {
        let mut state = self.0.state();
        if !state.cached.as_ref().is_some_and(|cached| Arc::ptr_eq(&cached.token, token)) {
            return;
        }
        state.cached = None;
        if claims.is_some() {
            state.claims = claims;
            state.challenge_count += 1;
            state.in_flight = None;
        }
    }

    /// The tenant of the last token, else the one that tokens have to be of.
    pub fn tenant_id(&self) -> Option<String> {
        self.0.state().last_tenant_id.clone().or_else(|| self.0.tenant_id.clone())
    }

    /// Where the tokens come from, without a secret.
    pub fn describe(&self) -> String {
        self.0.source.describe()
    }
}

fn log_refresh_failure(fetched: &FetchResult) {
    if let Err(error) = fetched {
        log::warn!(target: LOG_TARGET, "could not renew the token, which still serves: {error}");
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetch that is under way, or a new one.
    fn join_or_start_fetch(self: &Arc<Self>, state: &mut State) -> SharedFetch {
        let process = std::process::id();
        let under_way = state.in_flight.as_ref().filter(|(started_in, _)| *started_in == process);
        if let Some(in_flight) = under_way.and_then(|(_, in_flight)| in_flight.upgrade()) {
            return in_flight;
        }
        let inner = Arc::clone(self);
        let (claims, challenge) = (state.claims.clone(), state.challenge_count);
        let in_flight = async move { inner.fetch(claims, challenge).await }.boxed().shared();
        state.in_flight = in_flight.downgrade().map(|weak| (process, weak));
        in_flight
    }

    async fn fetch(&self, claims: Option<String>, challenge: u64) -> FetchResult {
        let fetched = self.source.fetch(claims).await.and_then(|token| self.check_tenant(token));
        let mut state = self.state();
        if state.challenge_count != challenge {
            return fetched.map(Arc::new);
        }
        state.in_flight = None;
        let token = Arc::new(fetched?);
        state.claims = None;
        let cached = CachedToken::new(Arc::clone(&token), self.clock.now());
        // A source that holds tokens itself may give the one that is held here already: it is not asked all the time.
        let refresh_at = match &state.cached {
            Some(old) if old.token.expires_at >= token.expires_at => {
                old.refresh_at.max(cached.refresh_at)
            }
            _ => cached.refresh_at,
        };
        if token.claims.tid.is_some() {
            state.last_tenant_id.clone_from(&token.claims.tid);
        }
        state.cached = Some(CachedToken { refresh_at, ..cached });
        Ok(token)
    }

    fn check_tenant(&self, token: AccessToken) -> Result<AccessToken> {
        let Some(wanted) = &self.tenant_id else { return Ok(token) };
        let message = match &token.claims.tid {
            Some(tid) if tid.eq_ignore_ascii_case(wanted) => return Ok(token),
            Some(tid) => {
                let tid = sanitize(tid, 64);
                format!(
                    "the token is of tenant {tid}, and tenant_id asks for {wanted}; nothing was sent"
                )
            }
            None => format!(
                "the token does not name its tenant, and tenant_id asks for {wanted}; nothing was sent"
            ),
        };
        let mut error = Error::new(Kind::Authentication, message);
        error.tenant_id = Some(wanted.clone());
        Err(error.with_hint("give a credential of that tenant, or the tenant_id of this one"))
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
