//! The quotas of the process: one for each store and quota key, shared by all clients.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use super::Quota;
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Result;
use crate::state::QuotaKey;
use crate::state::address::{Address, open_with};
use crate::state::memory::KeptMemory;
use crate::state::settings::StoreSettings;
use crate::state::store::{Pruned, Store};

/// How long a fork waits for a store that is being opened.
///
/// A file opens in a moment. A child may safely inherit a connection to a server that is being
/// opened, because it never uses it.
const MAX_OPEN_WAIT: Duration = Duration::from_secs(1);

/// The open quotas of the process. A forked child starts with an empty registry, because it must
/// not use what its parent has opened.
#[derive(Default)]
pub struct QuotaRegistry {
    known: Mutex<Vec<RegisteredQuota>>,
    /// What `memory:` holds, even while no client is open.
    memory: KeptMemory,
    /// Held while a store is opened, so that no two clients open the same one.
    opening: Arc<tokio::sync::Mutex<()>>,
    fork_pause: Mutex<ForkPause>,
}

/// Counts the forks in progress. Several threads may fork at the same time. Until all forks are
/// done, no store is open or opened.
#[derive(Default)]
struct ForkPause {
    forks: u32,
    opening: Option<OwnedMutexGuard<()>>,
}

struct RegisteredQuota {
    address: Address,
    key: QuotaKey,
    limits: Limits,
    // Weak, so that the store closes with its last client.
    quota: Weak<Quota>,
}

impl QuotaRegistry {
    /// Returns the quota of `key` in the store at `address`. Opens it if it is not open.
    ///
    /// The limits are those of the first client. Later ones are logged and ignored.
    pub async fn get(
        &self,
        address: &str,
        key: &QuotaKey,
        limits: &Limits,
        clock: Clock,
        call_lease: f64,
    ) -> Result<Arc<Quota>> {
        self.get_with(address, StoreSettings::new(key, limits, clock), call_lease).await
    }

    /// Returns the quota like [`get`](Self::get), with all options of the store.
    pub async fn get_with(
        &self,
        address: &str,
        settings: StoreSettings,
        call_lease: f64,
    ) -> Result<Arc<Quota>> {
        let parsed = Address::parse(address)?;
        let StoreSettings { key, limits, clock, .. } = settings.clone();
        // Held across the open, so that a second client waits and then finds the quota.
        let _opening = self.opening.lock().await;
        if let Some(quota) = self.find_open(&parsed, &key, &limits) {
            return Ok(quota);
        }
        let store: Arc<dyn Store> = match parsed {
            Address::Memory => Arc::new(self.memory.open(settings)),
            _ => open_with(&parsed, settings).await?,
        };
        for notice in store.notices() {
            log::warn!(target: crate::trace::LOG_TARGET, "{}; {}", notice.message, notice.hint);
        }
        let quota = Arc::new(Quota::new(store, clock, call_lease));
        let mut known = self.known();
        known.retain(|known| known.quota.strong_count() > 0);
        known.push(RegisteredQuota { address: parsed, key, limits, quota: Arc::downgrade(&quota) });
        Ok(quota)
    }

    /// Returns the quota if it is open already.
    fn find_open(&self, address: &Address, key: &QuotaKey, limits: &Limits) -> Option<Arc<Quota>> {
        let known = self.known();
        let entry = known.iter().find(|known| known.address == *address && known.key == *key)?;
        let quota = entry.quota.upgrade()?;
        if entry.limits != *limits {
            log::info!(
                target: crate::trace::LOG_TARGET,
                "these limits are ignored: another client of the same application has already set \
                 its limits"
            );
        }
        Some(quota)
    }

    /// Closes all stores before a fork, so that the child inherits no open file.
    pub fn quiesce(&self) {
        let mut fork_pause = self.fork_pause();
        fork_pause.forks += 1;
        if fork_pause.forks == 1 {
            // The lock is kept until `reopen`, so that no store is opened during the fork.
            let deadline = Instant::now() + MAX_OPEN_WAIT;
            while fork_pause.opening.is_none() && Instant::now() < deadline {
                fork_pause.opening = self.opening.clone().try_lock_owned().ok();
                std::thread::yield_now();
            }
            self.stores().iter().for_each(|store| store.quiesce());
        }
    }

    /// Opens all stores again, in the parent after the fork.
    pub fn reopen(&self) {
        let mut fork_pause = self.fork_pause();
        fork_pause.forks = fork_pause.forks.saturating_sub(1);
        if fork_pause.forks == 0 {
            self.stores().iter().for_each(|store| store.reopen());
            fork_pause.opening = None;
        }
    }

    /// Returns the quotas whose stores are shared with other processes.
    pub fn shared_with_others(&self) -> Vec<Arc<Quota>> {
        let quotas =
            self.known().iter().filter_map(|known| known.quota.upgrade()).collect::<Vec<_>>();
        quotas.into_iter().filter(|quota| quota.store().is_shared()).collect()
    }

    /// Deletes from the open memory stores what is older than `seconds` and not in use.
    pub async fn prune_memory(&self, seconds: f64) -> Result<Vec<Pruned>> {
        let mut removed = Vec::new();
        for store in self.stores().iter().filter(|store| !store.is_shared()) {
            removed.push(store.prune(seconds).await?);
        }
        Ok(removed)
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
