//! The memory store, shared by the clients of one process.

mod admission;
mod kept;
mod run_record;
mod run_store;
mod sessions;
mod tables;
mod window;

use std::sync::{Arc, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::ready;

pub use self::kept::KeptMemory;
use self::kept::MemoryData;
use self::run_store::MemoryRunStore;
use self::tables::{MemoryTables, SlotEntry};
use crate::error::Result;
use crate::state::StoreFuture;
use crate::state::run_store::RunStore;
use crate::state::settings::StoreSettings;
use crate::state::slots::SlotStore;
use crate::state::store::{CheckedStore, DeferredWrite, ListedActions, Pruned, Snapshot, Store};

/// The state of one quota key.
pub struct MemoryStore {
    settings: StoreSettings,
    data: Arc<MemoryData>,
    run_store: MemoryRunStore,
}

impl MemoryStore {
    pub fn new(settings: StoreSettings) -> Self {
        Self::with_data(settings, Arc::default())
    }

    fn with_data(settings: StoreSettings, data: Arc<MemoryData>) -> Self {
        let run_store = MemoryRunStore::new(settings.clone(), data.runs.clone());
        Self { run_store, settings, data }
    }

    fn now(&self, tables: &mut MemoryTables) -> f64 {
        let raw = self.settings.now.as_ref().map_or_else(|| self.settings.clock.now(), |now| now());
        tables.clock.advance_to(raw)
    }

    fn tables(&self) -> MutexGuard<'_, MemoryTables> {
        self.data.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` with the tables locked, so that it is one atomic decision.
    fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut MemoryTables, f64) -> Result<T>,
    ) -> StoreFuture<'_, T> {
        let mut tables = self.tables();
        let now = self.now(&mut tables);
        let done = act(&mut tables, now);
        ready(done).boxed()
    }
}

impl Store for MemoryStore {
    fn address(&self) -> &str {
        "memory:"
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn defer(&self, write: DeferredWrite) {
        let mut tables = self.tables();
        let now = self.now(&mut tables);
        match write {
            DeferredWrite::EndCall(window, ticket) => {
                tables.queues.entry(window).or_default().calls.end(ticket, now);
            }
            DeferredWrite::ReleaseSlot(machine_id, ticket) => {
                // Once an action is known, the slot belongs to the action and not to the ticket.
                let free = |slot_entry: &SlotEntry| {
                    slot_entry.ticket == Some(ticket) && slot_entry.slot.action_id.is_none()
                };
                if tables.slots.get(&machine_id).is_some_and(free) {
                    tables.slots.remove(&machine_id);
                }
            }
            DeferredWrite::ReleaseLease(key, token) => tables.release_lease(&key, token),
        }
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        // In memory, deferred writes are done immediately.
        ready(Ok(())).boxed()
    }

    fn run_store(&self) -> &dyn RunStore {
        &self.run_store
    }

    fn snapshot(&self) -> StoreFuture<'_, Snapshot> {
        self.with(|tables, now| Ok(tables.snapshot(now)))
    }

    fn prune(&self, seconds: f64) -> StoreFuture<'_, Pruned> {
        // Runs have their own lock, so they are pruned before the tables are locked.
        let runs = self.run_store.prune(seconds);
        self.with(|tables, now| Ok(Pruned { runs, ..tables.prune(now, seconds) }))
    }
}

impl CheckedStore for MemoryStore {
    // It can't lose anything while the process lives, and a new process is a new user.
    fn needs_check(&self) -> StoreFuture<'_, bool> {
        ready(Ok(false)).boxed()
    }

    fn find_unknown_actions(&self, action_ids: Vec<String>) -> StoreFuture<'_, Vec<String>> {
        self.with(|tables, _| {
            let is_known = |id: &String| {
                tables.intents.values().any(|entry| {
                    entry.intent.action_id.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(id))
                })
            };
            Ok(action_ids.into_iter().filter(|id| !is_known(id)).collect())
        })
    }

    fn record_check(&self, listed: ListedActions) -> StoreFuture<'_, ()> {
        self.record_open_sessions(listed.open)
    }
}
