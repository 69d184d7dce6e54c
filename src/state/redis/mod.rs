//! The store of many machines: Redis or Valkey, one script a decision, by the server's clock.

mod connection;
mod run_store;
mod server;
mod tls;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Notify;

pub use connection::VERSION;

use self::connection::RedisConnection;
use super::recovery::{lease_lost_error, slot_lost_error, unusable_error};
use super::run_store::RunStore;
use super::store::*;
use super::{QuotaKey, retention};
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;
use crate::secret::Secret;

pub struct RedisStore {
    settings: Settings,
    connection: Arc<RedisConnection>,
    pending_writes: Arc<PendingWrites>,
}

/// What was admission_args for and nobody waits for.
#[derive(Default)]
struct PendingWrites {
    count: AtomicUsize,
    done: Notify,
}

impl RedisStore {
    /// `url` is what the client connects by, `address` what is shown of it.
    pub async fn open(url: &Secret, address: String, settings: Settings) -> Result<Self> {
        let connection = Arc::new(RedisConnection::open(url, address, settings.clone()).await?);
        Ok(Self { settings, connection, pending_writes: Arc::default() })
    }

    /// The quota keys that the server holds.
    pub async fn quota_keys(url: &Secret, address: &str) -> Result<Vec<QuotaKey>> {
        RedisConnection::quota_keys(url, address).await
    }

    async fn call_void(&self, operation: &str, arguments: Value) -> Result<()> {
        self.connection.call::<wire::EmptyReply>(operation, &arguments).await.map(drop)
    }

    fn rates(&self, window: Operation) -> (Vec<(u32, f64)>, f64) {
        let rates = self.settings.rates(window);
        let shortest = rates.iter().map(|rate| rate.per).fold(f64::INFINITY, f64::min);
        (rates.iter().map(|rate| (rate.count, rate.per)).collect(), shortest)
    }

    fn admission_args(&self, request: &AdmissionRequest) -> Value {
        let join = request.join.iter().map(|entry| match &entry.slot_request {
            Some(slot_request) => json!([entry.ticket.to_string(), slot_request]),
            None => json!([entry.ticket.to_string()]),
        });
        let (rates, shortest) = self.rates(request.window);
        let mut arguments = json!({
            "window": request.window.name(),
            "rates": rates,
            "shortest": shortest,
            "longest": self.settings.longest_window(request.window),
            "owner": format!("{:016x}", request.owner),
            "call_lease": request.call_lease,
            "join": join.collect::<Vec<_>>(),
            "is_retry": request.is_retry,
            "leave": request.leave.iter().map(Ticket::to_string).collect::<Vec<_>>(),
        });
        if request.window == Operation::RunLiveResponse
            && let Some(arguments) = arguments.as_object_mut()
        {
            arguments.insert("slot_limit".to_owned(), self.settings.limits.sessions.into());
        }
        arguments
    }
}

fn intent_args(key: &IntentKey) -> Value {
    json!({"machine": key.machine_id, "correlation": key.correlation_id})
}

/// `key` and what else is said of it.
fn intent_args_with<const N: usize>(key: &IntentKey, more: [(&str, Value); N]) -> Value {
    let mut arguments = intent_args(key);
    for (name, value) in more {
        if let (Some(arguments), false) = (arguments.as_object_mut(), value.is_null()) {
            arguments.insert(name.to_owned(), value);
        }
    }
    arguments
}

fn hex_id(token: u64) -> Value {
    format!("{token:016x}").into()
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

    /// Once: who asks again says so, and tells who is waiting.
    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse> {
        Box::pin(async move {
            Ok(self
                .connection
                .call_once::<wire::AdmissionReply>(
                    "request_admission",
                    &self.admission_args(&request),
                )
                .await?
                .into())
        })
    }

    fn defer(&self, what: DeferredWrite) {
        let (operation, arguments) = match what {
            DeferredWrite::EndCall(window, ticket) => {
                ("end_call", json!({"window": window.name(), "ticket": ticket.to_string()}))
            }
            DeferredWrite::ReleaseSlot(machine_id, ticket) => {
                ("release_slot", json!({"machine": machine_id, "ticket": ticket.to_string()}))
            }
            DeferredWrite::ReleaseLease(key, token) => {
                ("release_lease", intent_args_with(&key, [("token", hex_id(token))]))
            }
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (connection, pending_writes) = (self.connection.clone(), self.pending_writes.clone());
        pending_writes.count.fetch_add(1, Ordering::SeqCst);
        runtime.spawn(async move {
            if let Err(error) = connection.call::<wire::EmptyReply>(operation, &arguments).await {
                log::debug!(target: crate::trace::LOG_TARGET, "{error}");
            }
            pending_writes.count.fetch_sub(1, Ordering::SeqCst);
            pending_writes.done.notify_waiters();
        });
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            loop {
                let done = self.pending_writes.done.notified();
                if self.pending_writes.count.load(Ordering::SeqCst) == 0 {
                    return Ok(());
                }
                done.await;
            }
        })
    }

    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()> {
        Box::pin(
            self.call_void("block_window", json!({"window": window.name(), "seconds": seconds})),
        )
    }

    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage> {
        Box::pin(async move {
            let (rates, shortest) = self.rates(window);
            let arguments = json!({"window": window.name(), "rates": rates, "shortest": shortest});
            Ok(self
                .connection
                .call::<wire::WindowUsageReply>("window_usage", &arguments)
                .await?
                .into())
        })
    }

    fn close_session<'a>(&'a self, action_id: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            Ok(self
                .connection
                .call::<wire::FreedReply>("close_session", &json!({"action": action_id}))
                .await?
                .freed)
        })
    }

    fn release_in_doubt_slot(&self, machine_id: String, seconds: f64) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let arguments = json!({"machine": machine_id, "seconds": seconds});
            Ok(self
                .connection
                .call::<wire::FreedReply>("release_in_doubt_slot", &arguments)
                .await?
                .freed)
        })
    }

    fn slots(&self) -> StoreFuture<'_, Vec<Slot>> {
        Box::pin(async move {
            Ok(self.connection.call::<wire::SlotsReply>("slots", &json!({})).await?.into())
        })
    }

    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()> {
        let session = |session: &OpenSession| json!({"machine": session.machine_id, "action": session.action_id, "lease": session.lease});
        Box::pin(self.call_void(
            "record_open_sessions",
            json!({"sessions": sessions.iter().map(session).collect::<Vec<_>>()}),
        ))
    }

    fn get_or_create_intent(
        &self,
        key: IntentKey,
        commands: Vec<Command>,
        comment: String,
    ) -> StoreFuture<'_, IntentLookup> {
        Box::pin(async move {
            let json = serde_json::to_string(&commands).unwrap_or_default();
            let arguments = intent_args_with(
                &key,
                [
                    ("commands", json.into()),
                    ("comment", comment.into()),
                    ("keep", retention::INTENTS.into()),
                    ("batch", retention::SWEEP_BATCH.into()),
                ],
            );
            let intended: wire::IntentReply =
                self.connection.call("get_or_create_intent", &arguments).await?;
            let (known, since_state_loss) = (intended.known, intended.since_state_loss());
            let intent = intended
                .intent
                .and_then(|intent| intent.read().ok())
                .ok_or_else(|| self.unreadable())?;
            Ok(IntentLookup { intent, known, since_state_loss })
        })
    }

    fn get_intent(&self, key: IntentKey) -> StoreFuture<'_, Option<Intent>> {
        Box::pin(async move {
            let intended: wire::IntentReply =
                self.connection.call("get_intent", &intent_args(&key)).await?;
            intended.intent.map(|intent| intent.read().map_err(|_| self.unreadable())).transpose()
        })
    }

    fn acquire_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let arguments =
                intent_args_with(&key, [("token", hex_id(token)), ("lease", lease.into())]);
            Ok(self.connection.call::<wire::LeaseReply>("acquire_lease", &arguments).await?.mine)
        })
    }

    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let arguments = intent_args_with(
                &key,
                [
                    ("token", hex_id(token)),
                    ("posted", posted.into()),
                    ("keep", retention::INTENTS.into()),
                ],
            );
            match self
                .connection
                .call::<wire::PostedReply>("record_posted", &arguments)
                .await?
                .check
                .as_str()
            {
                "held" => Ok(()),
                "no slot" => Err(slot_lost_error(&key)),
                _ => Err(lease_lost_error(&key)),
            }
        })
    }

    fn record_action(
        &self,
        key: IntentKey,
        action_id: String,
        lease: Option<f64>,
    ) -> StoreFuture<'_, ()> {
        Box::pin(self.call_void(
            "record_action",
            intent_args_with(
                &key,
                [
                    ("action", action_id.into()),
                    ("lease", lease.into()),
                    ("keep", retention::INTENTS.into()),
                ],
            ),
        ))
    }

    fn delete_unsent_intent(&self, key: IntentKey) -> StoreFuture<'_, ()> {
        Box::pin(self.call_void("delete_unsent_intent", intent_args(&key)))
    }

    fn cache_statuses(&self, statuses: Vec<(String, String)>) -> StoreFuture<'_, ()> {
        Box::pin(self.call_void(
            "cache_statuses",
            json!({"statuses": statuses, "keep": retention::STATUSES}),
        ))
    }

    fn cached_statuses(
        &self,
        action_ids: Vec<String>,
        max_age: f64,
    ) -> StoreFuture<'_, Vec<(String, CachedStatus)>> {
        Box::pin(async move {
            let arguments = json!({"actions": action_ids, "max_age": max_age});
            Ok(self
                .connection
                .call::<wire::CachedStatusesReply>("cached_statuses", &arguments)
                .await?
                .into())
        })
    }

    fn run_store(&self) -> Option<&dyn RunStore> {
        Some(self)
    }

    fn snapshot(&self) -> StoreFuture<'_, Snapshot> {
        Box::pin(async move {
            let windows: Vec<_> = Operation::ALL
                .iter()
                .map(|window| (window.name(), self.settings.longest_window(*window)))
                .collect();
            Ok(self
                .connection
                .call::<wire::SnapshotReply>("snapshot", &json!({"windows": windows}))
                .await?
                .into())
        })
    }

    fn prune(&self, seconds: f64) -> StoreFuture<'_, Pruned> {
        Box::pin(async move { self.connection.call("prune", &json!({"seconds": seconds})).await })
    }
}

impl RedisStore {
    fn unreadable(&self) -> crate::error::Error {
        unusable_error(
            format!("an intent in the state store {} can't be read", self.connection.address),
            "give the state store a database of its own",
        )
    }
}
