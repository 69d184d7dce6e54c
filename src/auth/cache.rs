//! The token in use: fetched once for all who wait, anew in good time, dropped when the service refuses it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::tenant::validate_guard;
use super::{AccessToken, TokenSource};
use crate::classify::words::printable;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::trace::{self, LOG};

type Fetched = Result<Arc<AccessToken>>;
/// Driven by whoever waits for it; when none of them is left, it is dropped and its request with it.
type Flight = Shared<BoxFuture<'static, Fetched>>;

/// Seconds before its end that a long-lived token is renewed.
const EARLY: f64 = 300.0;
/// Seconds between early renewals that brought nothing newer.
const PAUSE: f64 = 30.0;

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
    held: Option<Held>,
    /// With the process that it runs in: after a fork, the other side's never ends.
    flight: Option<(u32, WeakShared<BoxFuture<'static, Fetched>>)>,
    /// What the next token has to have, as the service's challenge said.
    claims: Option<String>,
    /// A flight from before a challenge brings a token that does not meet it.
    challenges: u64,
    tenant_seen: Option<String>,
}

struct Held {
    token: Arc<AccessToken>,
    /// From here on a newer one is fetched while this one still serves.
    renew_at: f64,
    /// From here on it might expire on its way.
    usable_until: f64,
}

impl Held {
    fn new(token: Arc<AccessToken>, now: f64) -> Self {
        // A tenth of a short life: a token of four minutes must not be renewed all the time.
        let early = ((token.expires_at - now) / 10.0).clamp(0.0, EARLY);
        let (renew_at, usable_until) = (token.expires_at - early, token.expires_at - early / 5.0);
        Self { token, renew_at, usable_until }
    }
}

impl TokenCache {
    /// `tenant_id`: tokens of another tenant are refused.
    pub fn new(source: Arc<dyn TokenSource>, tenant_id: Option<String>, clock: Clock) -> Result<Self> {
        tenant_id.as_deref().map(validate_guard).transpose()?;
        Ok(Self(Arc::new(Inner { source, tenant_id, clock, state: Mutex::default() })))
    }

    /// A token that is good, from the source where need be. Whoever calls meanwhile waits for the same fetch and shares
    /// its error; the next call tries anew.
    pub async fn token(&self) -> Result<Arc<AccessToken>> {
        let flight = {
            let now = self.0.clock.now();
            let mut state = self.0.state();
            match &mut state.held {
                Some(held) if now < held.renew_at => return Ok(Arc::clone(&held.token)),
                Some(held) if now < held.usable_until && tokio::runtime::Handle::try_current().is_ok() => {
                    let token = Arc::clone(&held.token);
                    held.renew_at = now + PAUSE;
                    let flight = self.0.join(&mut state);
                    drop(state);
                    trace::spawn(flight.inspect(warn));
                    return Ok(token);
                }
                _ => self.0.join(&mut state),
            }
        };
        flight.await
    }

    /// Drops `token`, which the service refused, and not one that was fetched meanwhile. `claims`: what its challenge
    /// asked for, which goes to the source once.
    pub fn refuse(&self, token: &Arc<AccessToken>, claims: Option<String>) {
        let mut state = self.0.state();
        if !state.held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.token, token)) {
            return;
        }
        state.held = None;
        if claims.is_some() {
            state.claims = claims;
            state.challenges += 1;
            state.flight = None;
        }
    }

    /// The tenant of the last token, else the one that tokens have to be of.
    pub fn tenant_id(&self) -> Option<String> {
        self.0.state().tenant_seen.clone().or_else(|| self.0.tenant_id.clone())
    }

    /// Where the tokens come from, without a secret.
    pub fn describe(&self) -> String {
        self.0.source.describe()
    }
}

fn warn(fetched: &Fetched) {
    if let Err(error) = fetched {
        log::warn!(target: LOG, "could not renew the token, which still serves: {error}");
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fetch that is under way, or a new one.
    fn join(self: &Arc<Self>, state: &mut State) -> Flight {
        let process = std::process::id();
        let under_way = state.flight.as_ref().filter(|(started_in, _)| *started_in == process);
        if let Some(flight) = under_way.and_then(|(_, flight)| flight.upgrade()) {
            return flight;
        }
        let inner = Arc::clone(self);
        let (claims, challenge) = (state.claims.clone(), state.challenges);
        let flight = async move { inner.fetch(claims, challenge).await }.boxed().shared();
        state.flight = flight.downgrade().map(|weak| (process, weak));
        flight
    }

    async fn fetch(&self, claims: Option<String>, challenge: u64) -> Fetched {
        let fetched = self.source.fetch(claims).await.and_then(|token| self.guard(token));
        let mut state = self.state();
        if state.challenges != challenge {
            return fetched.map(Arc::new);
        }
        state.flight = None;
        let token = Arc::new(fetched?);
        state.claims = None;
        let held = Held::new(Arc::clone(&token), self.clock.now());
        // A source that holds tokens itself may give the one that is held here already: it is not asked all the time.
        let renew_at = match &state.held {
            Some(old) if old.token.expires_at >= token.expires_at => old.renew_at.max(held.renew_at),
            _ => held.renew_at,
        };
        if token.claims.tid.is_some() {
            state.tenant_seen.clone_from(&token.claims.tid);
        }
        state.held = Some(Held { renew_at, ..held });
        Ok(token)
    }

    fn guard(&self, token: AccessToken) -> Result<AccessToken> {
        let Some(wanted) = &self.tenant_id else { return Ok(token) };
        let message = match &token.claims.tid {
            Some(tid) if tid.eq_ignore_ascii_case(wanted) => return Ok(token),
            Some(tid) => {
                let tid = printable(tid, 64);
                format!("the token is of tenant {tid}, and tenant_id asks for {wanted}; nothing was sent")
            }
            None => format!("the token does not name its tenant, and tenant_id asks for {wanted}; nothing was sent"),
        };
        let mut error = Error::new(Kind::Authentication, message);
        error.tenant_id = Some(wanted.clone());
        Err(error.with_hint("give a credential of that tenant, or the tenant_id of this one"))
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
