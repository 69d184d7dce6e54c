//! The quotas of a process: one for each store and quota key, shared by all its clients.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::Quota;
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Result;
use crate::state::QuotaKey;
use crate::state::address::{Address, open_with};
use crate::state::store::{Settings, Store};

/// A child made by fork starts with an empty one: what the parent opened is the parent's.
#[derive(Default)]
pub struct Quotas {
    known: Mutex<HashMap<(String, QuotaKey), Weak<Quota>>>,
    /// One store is opened at a time.
    opening: tokio::sync::Mutex<()>,
}

impl Quotas {
    /// The quota of `key` in the store at `address`; the first client of both says what the limits are.
    pub async fn get(
        &self,
        address: &str,
        key: &QuotaKey,
        limits: &Limits,
        clock: Clock,
        call_lease: f64,
    ) -> Result<Arc<Quota>> {
        let parsed = Address::parse(address)?;
        let name = (address.to_owned(), key.clone());
        let _opening = self.opening.lock().await;
        if let Some(quota) = self.known().get(&name).and_then(Weak::upgrade) {
            return Ok(quota);
        }
        let store = open_with(&parsed, Settings::new(key, limits, clock)).await?;
        for notice in store.notices() {
            log::warn!(target: crate::pipeline::LOG, "{}; {}", notice.message, notice.hint);
        }
        let quota = Arc::new(Quota::new(store, clock, call_lease));
        let mut known = self.known();
        known.retain(|_, quota| quota.strong_count() > 0);
        known.insert(name, Arc::downgrade(&quota));
        Ok(quota)
    }

    /// Before a fork: returns when no store holds what a child must not inherit.
    pub fn quiesce(&self) {
        self.stores().iter().for_each(|store| store.quiesce());
    }

    /// After it, in the parent.
    pub fn reopen(&self) {
        self.stores().iter().for_each(|store| store.reopen());
    }

    fn stores(&self) -> Vec<Arc<dyn Store>> {
        self.known().values().filter_map(Weak::upgrade).map(|quota| quota.store().clone()).collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, QuotaKey), Weak<Quota>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
