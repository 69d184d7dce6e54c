//! The store of the processes of one machine: a file.

mod connection;
mod file;
mod inspect;
mod location;
mod machine_clock;
mod queue;
mod reboot;
mod run_store;
mod runs;
mod sessions;
mod worker;

use std::path::PathBuf;

use rusqlite::params;

pub use file::VERSION;
pub use inspect::quota_keys;

use self::connection::Durability;
use self::sessions::LeaseCheck;
use self::worker::Worker;
use super::recovery::{lease_lost_error, slot_lost_error};
use super::run_store::RunStore;
use super::store::*;
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;

pub struct SqliteStore {
    address: String,
    worker: Worker,
}

impl SqliteStore {
    pub async fn open(path: PathBuf, settings: Settings) -> Result<Self> {
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

    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse> {
        self.worker.run(Durability::SyncedSoon, move |db, now| db.request_admission(&request, now))
    }

    fn defer(&self, what: DeferredWrite) {
        self.worker.defer(what);
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Relaxed, |_, _| Ok(()))
    }

    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Synced, move |db, now| {
            let hold =
                "INSERT INTO window_blocks VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET until = max(until, excluded.until)";
            db.execute(hold, params![db.quota, window.name(), now + seconds]).map(drop)
        })
    }

    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage> {
        self.worker.run(Durability::Relaxed, move |db, now| db.window_usage(window, now))
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

    fn slots(&self) -> StoreFuture<'_, Vec<Slot>> {
        self.worker.run(Durability::Relaxed, |db, now| db.slots(now))
    }

    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()> {
        self.worker.run(Durability::Synced, move |db, now| db.record_open_sessions(&sessions, now))
    }

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

    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let intent_key = key.clone();
            let noted = self
                .worker
                .run(Durability::Synced, move |db, now| db.record_posted(&key, token, posted, now));
            match noted.await? {
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

    fn run_store(&self) -> Option<&dyn RunStore> {
        Some(self)
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
