//! The quotas of a process: one for each store and quota key, shared by all its clients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use super::Quota;
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Result;
use crate::state::QuotaKey;
use crate::state::address::{Address, open_with};
use crate::state::store::{Settings, Store};

/// A fork waits no longer for a store that is being opened: a file's is a moment, and a server's is no harm to a child.
const MAX_OPEN_WAIT: Duration = Duration::from_secs(1);

/// A child made by fork starts with an empty one: what the parent opened is the parent's.
#[derive(Default)]
pub struct QuotaRegistry {
    known: Mutex<Vec<RegisteredQuota>>,
    /// One store is opened at a time.
    opening: Arc<tokio::sync::Mutex<()>>,
    fork_pause: Mutex<ForkPause>,
}

/// While forks are under way, which several threads may do at once, nothing is open and nothing is opened.
#[derive(Default)]
struct ForkPause {
    forks: u32,
    opening: Option<OwnedMutexGuard<()>>,
}

struct RegisteredQuota {
    address: Address,
    key: QuotaKey,
    limits: Limits,
    quota: Weak<Quota>,
}

impl QuotaRegistry {
    /// The quota of `key` in the store at `address`; the first client of both says what the limits are.
    pub async fn get(
        &self,
        address: &str,
        key: &QuotaKey,
        limits: &Limits,
        clock: Clock,
        call_lease: f64,
    ) -> Result<Arc<Quota>> {
        self.get_with(address, Settings::new(key, limits, clock), call_lease).await
    }

    /// The same, with what else the store is opened with.
    pub async fn get_with(
        &self,
        address: &str,
        settings: Settings,
        call_lease: f64,
    ) -> Result<Arc<Quota>> {
        let parsed = Address::parse(address)?;
        let Settings { key, limits, clock, .. } = settings.clone();
        let _opening = self.opening.lock().await;
        if let Some(quota) = self.find_shared(&parsed, &key, &limits) {
            return Ok(quota);
        }
        let store = open_with(&parsed, settings).await?;
        for notice in store.notices() {
            log::warn!(target: crate::trace::LOG_TARGET, "{}; {}", notice.message, notice.hint);
        }
        let quota = Arc::new(Quota::new(store, clock, call_lease));
        let mut known = self.known();
        known.retain(|known| known.quota.strong_count() > 0);
        known.push(RegisteredQuota { address: parsed, key, limits, quota: Arc::downgrade(&quota) });
        Ok(quota)
    }

    fn find_shared(
        &self,
        address: &Address,
        key: &QuotaKey,
        limits: &Limits,
    ) -> Option<Arc<Quota>> {
        let known = self.known();
        let it = known.iter().find(|known| known.address == *address && known.key == *key)?;
        let quota = it.quota.upgrade()?;
        if it.limits != *limits {
            log::info!(
                target: crate::trace::LOG_TARGET,
                "the limits given are not used: another client of this application has set others"
            );
        }
        Some(quota)
    }

    /// Before a fork: returns when no store holds what a child must not inherit.
    pub fn quiesce(&self) {
        let mut fork_pause = self.fork_pause();
        fork_pause.forks += 1;
        if fork_pause.forks == 1 {
            let give_up = Instant::now() + MAX_OPEN_WAIT;
            while fork_pause.opening.is_none() && Instant::now() < give_up {
                fork_pause.opening = self.opening.clone().try_lock_owned().ok();
                std::thread::yield_now();
            }
            self.stores().iter().for_each(|store| store.quiesce());
        }
    }

    /// After it, in the parent.
    pub fn reopen(&self) {
        let mut fork_pause = self.fork_pause();
        fork_pause.forks = fork_pause.forks.saturating_sub(1);
        if fork_pause.forks == 0 {
            self.stores().iter().for_each(|store| store.reopen());
            fork_pause.opening = None;
        }
    }

    /// The quotas that are shared with other processes.
    pub fn shared_with_others(&self) -> Vec<Arc<Quota>> {
        let quotas =
            self.known().iter().filter_map(|known| known.quota.upgrade()).collect::<Vec<_>>();
        quotas.into_iter().filter(|quota| quota.store().is_shared()).collect()
    }

    fn fork_pause(&self) -> MutexGuard<'_, ForkPause> {
        self.fork_pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stores(&self) -> Vec<Arc<dyn Store>> {
        self.known()
            .iter()
            .filter_map(|known| known.quota.upgrade())
            .map(|quota| quota.store().clone())
            .collect()
    }

    fn known(&self) -> MutexGuard<'_, Vec<RegisteredQuota>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
