//! The SQLite store, shared by the processes of one machine.

mod checks;
mod connection;
mod deferred;
mod file;
mod identity;
mod inspect;
mod location;
mod machine_clock;
mod queue;
mod quota_key;
mod reboot;
mod run_outcomes;
mod run_store;
mod runs;
mod sessions;
mod window;
mod worker;

use std::path::PathBuf;

pub use file::VERSION;
pub use inspect::quota_keys;

use self::connection::Durability;
use self::sessions::LeaseCheck;
use self::worker::Worker;
use super::StoreFuture;
use super::admission::{AdmissionRequest, AdmissionResponse, AdmissionStore, WindowUsage};
use super::intents::{Intent, IntentKey, IntentLookup, IntentStore};
use super::run_store::RunStore;
use super::settings::StoreSettings;
use super::slots::{OpenSession, SessionSlot, SlotStore};
use super::status_cache::{CachedStatus, StatusCache};
use super::store::{DeferredWrite, Pruned, Snapshot, Store};
use super::store_check::{CheckedStore, ListedActions};
use super::store_error::{lease_lost_error, slot_lost_error};
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;

type Sql<T> = rusqlite::Result<T>;

/// The state of one quota key in a file.
pub struct SqliteStore {
    address: String,
    worker: Worker,
}

impl SqliteStore {
    /// Opens the file, or creates it.
    pub async fn open(path: PathBuf, settings: StoreSettings) -> Result<Self> {
        let address = format!("sqlite:///{}", path.display());
        Ok(Self { address, worker: Worker::open(path, settings).await? })
    }
}

impl Store for SqliteStore {
    fn address(&self) -> &str {
        &self.address
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn defer(&self, write: DeferredWrite) {
        self.worker.defer(write);
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        // Jobs run in order, and every transaction does the deferred writes first.
        self.worker.run(Durability::Relaxed, |_, _| Ok(()))
    }

    fn run_store(&self) -> &dyn RunStore {
        self
    }

    fn snapshot(&self) -> StoreFuture<'_, Snapshot> {
        self.worker.run(Durability::Relaxed, |db, now| db.snapshot(now))
    }

    fn prune(&self, seconds: f64) -> StoreFuture<'_, Pruned> {
        self.worker.run(Durability::Relaxed, move |db, now| db.prune(seconds, now))
    }

    fn quiesce(&self) {
        self.worker.quiesce();
    }

    fn reopen(&self) {
        self.worker.reopen();
    }
}

impl AdmissionStore for SqliteStore {
    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse> {
        self.worker.run(Durability::SyncedSoon, move |db, now| db.request_admission(&request, now))
    }

    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Synced, move |db, now| db.block_window(window, now + seconds))
    }

    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage> {
        self.worker.run(Durability::Relaxed, move |db, now| db.window_usage(window, now))
    }
}

impl SlotStore for SqliteStore {
    fn slots(&self) -> StoreFuture<'_, Vec<SessionSlot>> {
        self.worker.run(Durability::Relaxed, |db, now| db.slots(now))
    }

    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Synced, move |db, now| db.record_open_sessions(&sessions, now))
    }

    fn close_session<'a>(&'a self, action_id: &'a str) -> StoreFuture<'a, bool> {
        let action_id = action_id.to_owned();
        self.worker.run(Durability::Relaxed, move |db, _| db.close_session(&action_id))
    }

    fn release_in_doubt_slot(&self, machine_id: String, seconds: f64) -> StoreFuture<'_, bool> {
        self.worker.run(Durability::Relaxed, move |db, now| {
            db.release_in_doubt_slot(&machine_id, seconds, now)
        })
    }
}

impl IntentStore for SqliteStore {
    fn get_or_create_intent(
        &self,
        key: IntentKey,
        commands: Vec<Command>,
        comment: String,
    ) -> StoreFuture<'_, IntentLookup> {
        self.worker.run(Durability::Synced, move |db, now| {
            db.get_or_create_intent(&key, &commands, &comment, now)
        })
    }

    fn get_intent(&self, key: IntentKey) -> StoreFuture<'_, Option<Intent>> {
        self.worker.run(Durability::Relaxed, move |db, _| db.get_intent(&key))
    }

    fn acquire_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        self.worker
            .run(Durability::Relaxed, move |db, now| db.acquire_lease(&key, token, lease, now))
    }

    fn renew_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        self.worker
            .run(Durability::Relaxed, move |db, now| db.renew_lease(&key, token, now + lease))
    }

    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let intent_key = key.clone();
            // Synced: a power cut after the POST must not undo this record.
            let recorded = self
                .worker
                .run(Durability::Synced, move |db, now| db.record_posted(&key, token, posted, now));
            match recorded.await? {
                LeaseCheck::Held => Ok(()),
                LeaseCheck::NoLease => Err(lease_lost_error(&intent_key)),
                LeaseCheck::NoSlot => Err(slot_lost_error(&intent_key)),
            }
        })
    }

    fn record_action(
        &self,
        key: IntentKey,
        action_id: String,
        lease: Option<f64>,
    ) -> StoreFuture<'_, ()> {
        self.worker
            .run(Durability::Synced, move |db, now| db.record_action(&key, &action_id, lease, now))
    }

    fn delete_unsent_intent(&self, key: IntentKey) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Synced, move |db, _| db.delete_unsent_intent(&key))
    }

    fn is_action_recorded(&self, action_id: String) -> StoreFuture<'_, bool> {
        self.worker.run(Durability::Relaxed, move |db, _| db.is_action_recorded(&action_id))
    }

    fn record_unreliable_comments(&self) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Synced, |db, _| db.record_unreliable_comments())
    }

    fn has_unreliable_comments(&self) -> StoreFuture<'_, bool> {
        self.worker.run(Durability::Relaxed, |db, _| db.has_unreliable_comments())
    }
}

impl StatusCache for SqliteStore {
    fn cache_statuses(&self, statuses: Vec<(String, String)>) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Relaxed, move |db, now| db.cache_statuses(&statuses, now))
    }

    fn cached_statuses(
        &self,
        action_ids: Vec<String>,
        max_age: f64,
    ) -> StoreFuture<'_, Vec<(String, CachedStatus)>> {
        self.worker
            .run(Durability::Relaxed, move |db, now| db.cached_statuses(action_ids, max_age, now))
    }
}

impl CheckedStore for SqliteStore {
    fn needs_check(&self) -> StoreFuture<'_, bool> {
        self.worker.run(Durability::Relaxed, |db, _| db.needs_check())
    }

    fn find_unknown_actions(&self, action_ids: Vec<String>) -> StoreFuture<'_, Vec<String>> {
        self.worker.run(Durability::Relaxed, |db, _| db.find_unknown_actions(action_ids))
    }

    fn record_check(&self, listed: ListedActions) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Synced, move |db, now| db.record_check(&listed, now))
    }
}
