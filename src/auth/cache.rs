//! Caches the token: concurrent callers share one fetch, the token is renewed before it expires,
//! and it is dropped when the service refuses it.

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
/// A fetch that several callers await. When the last caller is dropped, so is the fetch, which
/// cancels its request.
type SharedFetch = Shared<BoxFuture<'static, FetchResult>>;

/// A long-lived token is renewed this many seconds before it expires.
const REFRESH_MARGIN: f64 = 300.0;
/// Seconds between early renewals that returned no newer token.
const REFRESH_RETRY_INTERVAL: f64 = 30.0;

/// Caches the token of one source.
#[derive(Clone)]
pub struct TokenCache(Arc<SharedCache>);

struct SharedCache {
    source: Arc<dyn TokenSource>,
    tenant_id: Option<String>,
    clock: Clock,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    cached: Option<CachedToken>,
    /// The fetch and its process: after a fork, a fetch of the parent never ends in the child.
    in_flight: Option<(u32, WeakShared<BoxFuture<'static, FetchResult>>)>,
    /// Claims that the next token must have, from the service's claims challenge.
    claims: Option<String>,
    /// Counts challenges: a fetch from before a challenge returns a token without its claims.
    challenge_count: u64,
    last_tenant_id: Option<String>,
}

struct CachedToken {
    token: Arc<AccessToken>,
    /// From this time on, a newer token is fetched while this one is still used.
    refresh_at: f64,
    /// From this time on, the token might expire before it reaches the service.
    usable_until: f64,
}

impl CachedToken {
    fn new(token: Arc<AccessToken>, now: f64) -> Self {
        // A tenth of a short lifetime: a token of four minutes must not be renewed at every call.
        let margin = ((token.expires_at - now) / 10.0).clamp(0.0, REFRESH_MARGIN);
        let (refresh_at, usable_until) =
            (token.expires_at - margin, token.expires_at - margin / 5.0);
        Self { token, refresh_at, usable_until }
    }
}

impl TokenCache {
    /// Creates an empty cache. If `tenant_id` is set, tokens of other tenants are refused.
    pub fn new(
        source: Arc<dyn TokenSource>,
        tenant_id: Option<String>,
        clock: Clock,
    ) -> Result<Self> {
        tenant_id.as_deref().map(validate_tenant_guid).transpose()?;
        Ok(Self(Arc::new(SharedCache { source, tenant_id, clock, state: Mutex::default() })))
    }

    /// Returns the cached token, or fetches one. Concurrent callers await the same fetch and share
    /// its error; the next call starts a new fetch.
    pub async fn get_token(&self) -> Result<Arc<AccessToken>> {
        let in_flight = {
            let now = self.0.clock.now();
            let mut state = self.0.state();
            match &mut state.cached {
                Some(cached) if now < cached.refresh_at => return Ok(Arc::clone(&cached.token)),
                // Renewed in the background, which needs a runtime. A caller without one waits.
                Some(cached)
                    if now < cached.usable_until
                        && tokio::runtime::Handle::try_current().is_ok() =>
                {
                    let token = Arc::clone(&cached.token);
                    // Set before the fetch: if the fetch fails, the next call must not start
                    // another one immediately.
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

    /// Drops `token`, which the service refused. `claims` are those of the service's claims
    /// challenge; the next fetch requests them once.
    pub fn invalidate(&self, token: &Arc<AccessToken>, claims: Option<String>) {
        let mut state = self.0.state();
        // A newer token stays: many calls may report the same refused token.
        if !state.cached.as_ref().is_some_and(|cached| Arc::ptr_eq(&cached.token, token)) {
            return;
        }
        state.cached = None;
        if claims.is_some() {
            // A fetch that is already running does not ask for the claims.
            state.claims = claims;
            state.challenge_count += 1;
            state.in_flight = None;
        }
    }

    /// Returns the tenant of the last token, or else the tenant that tokens must have.
    pub fn tenant_id(&self) -> Option<String> {
        self.0.state().last_tenant_id.clone().or_else(|| self.0.tenant_id.clone())
    }

    /// Describes the source of the tokens, without a secret.
    pub fn describe(&self) -> String {
        self.0.source.describe()
    }
}

fn log_refresh_failure(fetched: &FetchResult) {
    if let Err(error) = fetched {
        log::warn!(
            target: LOG_TARGET,
            "could not renew the token; the current token is still in use: {error}"
        );
    }
}

impl SharedCache {
    fn state(&self) -> MutexGuard<'_, CacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the running fetch, or starts one.
    fn join_or_start_fetch(self: &Arc<Self>, state: &mut CacheState) -> SharedFetch {
        // After a fork, the child has the parent's fetch in memory, but no task runs it.
        let process = std::process::id();
        let running = state.in_flight.as_ref().filter(|(started_in, _)| *started_in == process);
        if let Some(in_flight) = running.and_then(|(_, in_flight)| in_flight.upgrade()) {
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
        // A challenge arrived during this fetch: the token lacks its claims and is not cached.
        if state.challenge_count != challenge {
            return fetched.map(Arc::new);
        }
        state.in_flight = None;
        let token = Arc::new(fetched?);
        // Cleared only now: after a failed fetch, the next one must ask for the claims again.
        state.claims = None;
        let cached = CachedToken::new(Arc::clone(&token), self.clock.now());
        // A source with its own cache may return the token that is cached here already. The next
        // calls must not ask the source again immediately.
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
                    "the token is for tenant {tid}, but tenant_id is {wanted}; no request was sent"
                )
            }
            None => format!(
                "the token does not name its tenant, but tenant_id is {wanted}; no request was sent"
            ),
        };
        let mut error = Error::new(Kind::Authentication, message);
        error.tenant_id = Some(wanted.clone());
        Err(error
            .with_hint("give a credential of that tenant, or the tenant_id of this credential"))
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
