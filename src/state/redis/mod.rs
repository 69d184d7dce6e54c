//! The Redis or Valkey store, shared by many machines.
//!
//! Every decision is one call of one Lua script, which Redis runs atomically and by its own clock.

mod admission;
mod checks;
mod connection;
mod lua_scripts;
mod names;
mod reconnect;
mod redis_error;
mod reply;
mod run_outcomes;
mod run_reply;
mod run_store;
mod server;
mod sessions;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Notify;

pub use connection::VERSION;

use self::connection::RedisConnection;
use self::reply::{BoolReply, EmptyReply, SnapshotReply};
use super::intents::IntentKey;
use super::run_store::RunStore;
use super::settings::StoreSettings;
use super::store::{DeferredWrite, Notice, Pruned, Snapshot, Store};
use super::{QuotaKey, StoreFuture, hex_id};
use crate::error::Result;
use crate::operation::Operation;
use crate::secret::Secret;

/// The state of one quota key on a server.
pub struct RedisStore {
    settings: StoreSettings,
    connection: Arc<RedisConnection>,
    pending_writes: Arc<PendingWrites>,
}

/// Counts the deferred writes that are not done yet.
#[derive(Default)]
struct PendingWrites {
    count: AtomicUsize,
    done: Notify,
}

impl RedisStore {
    /// Connects to `url`. Errors show `address` instead, which has no password.
    pub async fn open(url: &Secret, address: String, settings: StoreSettings) -> Result<Self> {
        let connection = Arc::new(RedisConnection::open(url, address, settings.clone()).await?);
        Ok(Self { settings, connection, pending_writes: Arc::default() })
    }

    /// Returns the quota keys that the server holds.
    pub async fn quota_keys(url: &Secret, address: &str) -> Result<Vec<QuotaKey>> {
        RedisConnection::quota_keys(url, address).await
    }

    async fn call_void(&self, operation: &str, arguments: Value) -> Result<()> {
        self.connection.call::<EmptyReply>(operation, &arguments).await.map(drop)
    }

    async fn call_bool(&self, operation: &str, arguments: Value) -> Result<bool> {
        Ok(self.connection.call::<BoolReply>(operation, &arguments).await?.yes)
    }
}

fn intent_args(key: &IntentKey) -> Value {
    json!({"machine": key.machine_id, "correlation": key.correlation_id})
}

/// Returns the arguments that name the intent, and `more`. Null values are left out.
fn intent_args_with<const N: usize>(key: &IntentKey, more: [(&str, Value); N]) -> Value {
    let mut arguments = intent_args(key);
    for (name, value) in more {
        if let (Some(arguments), false) = (arguments.as_object_mut(), value.is_null()) {
            arguments.insert(name.to_owned(), value);
        }
    }
    arguments
}

impl Store for RedisStore {
    fn address(&self) -> &str {
        &self.connection.address
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn notices(&self) -> Vec<Notice> {
        self.connection.notices()
    }

    fn defer(&self, write: DeferredWrite) {
        let (operation, arguments) = match write {
            DeferredWrite::EndCall(window, ticket) => {
                ("end_call", json!({"window": window.name(), "ticket": ticket.to_string()}))
            }
            DeferredWrite::ReleaseSlot(machine_id, ticket) => {
                ("release_slot", json!({"machine": machine_id, "ticket": ticket.to_string()}))
            }
            DeferredWrite::ReleaseLease(key, token) => {
                ("release_lease", intent_args_with(&key, [("token", hex_id(token).into())]))
            }
        };
        // Without a runtime the process is exiting, and the lease ends what the write would have.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, pending_writes) = (self.connection.clone(), self.pending_writes.clone());
        // Counted before the task starts, so that `flush` waits for it.
        pending_writes.count.fetch_add(1, Ordering::SeqCst);
        runtime.spawn(async move {
            if let Err(error) = connection.call::<EmptyReply>(operation, &arguments).await {
                log::debug!(target: crate::trace::LOG_TARGET, "{error}");
            }
            pending_writes.count.fetch_sub(1, Ordering::SeqCst);
            pending_writes.done.notify_waiters();
        });
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            loop {
                // Created before the count is read, so that no wake-up in between is missed.
                let done = self.pending_writes.done.notified();
                if self.pending_writes.count.load(Ordering::SeqCst) == 0 {
                    return Ok(());
                }
                done.await;
            }
        })
    }

    fn run_store(&self) -> &dyn RunStore {
        self
    }

    fn snapshot(&self) -> StoreFuture<'_, Snapshot> {
        Box::pin(async move {
            let windows: Vec<_> = Operation::ALL
                .iter()
                .map(|window| (window.name(), self.settings.longest_window(*window)))
                .collect();
            Ok(self
                .connection
                .call::<SnapshotReply>("snapshot", &json!({"windows": windows}))
                .await?
                .into())
        })
    }

    fn prune(&self, seconds: f64) -> StoreFuture<'_, Pruned> {
        Box::pin(async move { self.connection.call("prune", &json!({"seconds": seconds})).await })
    }
}
