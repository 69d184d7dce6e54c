//! What outlives a single call: windows, open sessions and intents.
//!
//! `memory:` keeps it for the clients of one process that share a quota key.

pub mod address;
mod intents;
mod line;
mod lost;
mod memory;
pub mod memory_store;
mod memory_table;
mod memory_window;
pub mod redis;
mod settings;
pub mod sqlite;
mod steady;
pub mod store;
mod walk;
mod window;

pub use intents::{Claim, IntentKey, Progress};
pub use line::{Line, Pass};
pub use memory::{Admission, Memory, Occupied, SlotGuard};
pub use window::{Room, Window};

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::clock::Clock;
use crate::config::Limits;
use crate::error::{Error, Result};

/// What the service counts limits by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuotaKey {
    pub host: String,
    pub tenant: String,
    pub application: String,
}

/// The memory stores of a process, one for each quota key.
#[derive(Default)]
pub struct Registry {
    stores: Mutex<HashMap<QuotaKey, Weak<Memory>>>,
}

impl Registry {
    /// The store of `key`; the first client of a key says what its limits are.
    pub fn memory(&self, key: &QuotaKey, limits: &Limits, clock: Clock) -> Arc<Memory> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|_, store| store.strong_count() > 0);
        if let Some(store) = stores.get(key).and_then(Weak::upgrade) {
            return store;
        }
        let store = Arc::new(Memory::new(limits, clock));
        stores.insert(key.clone(), Arc::downgrade(&store));
        store
    }
}

/// Refuses a store that is not there.
pub fn check_address(state: &str) -> Result<()> {
    if state == "memory:" {
        return Ok(());
    }
    let scheme = state.split(':').next().unwrap_or_default();
    Err(Error::invalid(format!("there is no state store of the kind {scheme:?}")).with_hint("use \"memory:\""))
}
