//! The store of many machines: Redis or Valkey, one script a decision, by the server's clock.

mod connect;
mod journal;
mod link;
mod server;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tokio::sync::Notify;

pub use link::VERSION;

use self::link::Link;
use super::journal::Journal;
use super::lost::{lost_slot, lost_turn, unfit};
use super::store::*;
use super::{QuotaKey, kept};
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;
use crate::secret::Secret;

pub struct RedisStore {
    settings: Settings,
    link: Arc<Link>,
    under_way: Arc<UnderWay>,
}

/// What was asked for and nobody waits for.
#[derive(Default)]
struct UnderWay {
    count: AtomicUsize,
    done: Notify,
}

impl RedisStore {
    /// `url` is what the client connects by, `address` what is shown of it.
    pub async fn open(url: &Secret, address: String, settings: Settings) -> Result<Self> {
        let link = Arc::new(Link::open(url, address, settings.clone()).await?);
        Ok(Self { settings, link, under_way: Arc::default() })
    }

    /// The quota keys that the server holds.
    pub async fn quota_keys(url: &Secret, address: &str) -> Result<Vec<QuotaKey>> {
        Link::quota_keys(url, address).await
    }

    async fn void(&self, operation: &str, arguments: Value) -> Result<()> {
        self.link.call::<wire::Nothing>(operation, &arguments).await.map(drop)
    }

    fn rates(&self, window: Operation) -> (Vec<(u32, f64)>, f64) {
        let rates = self.settings.rates(window);
        let shortest = rates.iter().map(|rate| rate.per).fold(f64::INFINITY, f64::min);
        (rates.iter().map(|rate| (rate.count, rate.per)).collect(), shortest)
    }

    fn asked(&self, ask: &Ask) -> Value {
        let join = ask.join.iter().map(|joining| match &joining.errand {
            Some(errand) => json!([joining.ticket.to_string(), errand]),
            None => json!([joining.ticket.to_string()]),
        });
        let (rates, shortest) = self.rates(ask.window);
        let mut arguments = json!({
            "window": ask.window.name(),
            "rates": rates,
            "shortest": shortest,
            "longest": self.settings.longest(ask.window),
            "owner": format!("{:016x}", ask.owner),
            "call_lease": ask.call_lease,
            "join": join.collect::<Vec<_>>(),
            "again": ask.again,
            "leave": ask.leave.iter().map(Ticket::to_string).collect::<Vec<_>>(),
        });
        if ask.window == Operation::RunLiveResponse
            && let Some(arguments) = arguments.as_object_mut()
        {
            arguments.insert("cap".to_owned(), self.settings.limits.sessions.into());
        }
        arguments
    }
}

fn about(key: &IntentKey) -> Value {
    json!({"machine": key.machine_id, "correlation": key.correlation_id})
}

/// `key` and what else is said of it.
fn saying<const N: usize>(key: &IntentKey, more: [(&str, Value); N]) -> Value {
    let mut arguments = about(key);
    for (name, value) in more {
        if let (Some(arguments), false) = (arguments.as_object_mut(), value.is_null()) {
            arguments.insert(name.to_owned(), value);
        }
    }
    arguments
}

fn name(token: u64) -> Value {
    format!("{token:016x}").into()
}

impl Store for RedisStore {
    fn address(&self) -> &str {
        &self.link.address
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn notices(&self) -> Vec<Notice> {
        self.link.notices()
    }

    /// Once: who asks again says so, and tells who is waiting.
    fn ask(&self, ask: Ask) -> Reply<'_, Answer> {
        Box::pin(async move { Ok(self.link.once::<wire::Asked>("ask", &self.asked(&ask)).await?.into()) })
    }

    fn later(&self, what: Later) {
        let (operation, arguments) = match what {
            Later::Finish(window, ticket) => ("finish", json!({"window": window.name(), "ticket": ticket.to_string()})),
            Later::Free(machine_id, ticket) => ("free", json!({"machine": machine_id, "ticket": ticket.to_string()})),
            Later::LeaveTurn(key, token) => ("leave_turn", saying(&key, [("token", name(token))])),
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (link, under_way) = (self.link.clone(), self.under_way.clone());
        under_way.count.fetch_add(1, Ordering::SeqCst);
        runtime.spawn(async move {
            if let Err(error) = link.call::<wire::Nothing>(operation, &arguments).await {
                log::debug!(target: crate::trace::LOG, "{error}");
            }
            under_way.count.fetch_sub(1, Ordering::SeqCst);
            under_way.done.notify_waiters();
        });
    }

    fn flush(&self) -> Reply<'_, ()> {
        Box::pin(async move {
            loop {
                let done = self.under_way.done.notified();
                if self.under_way.count.load(Ordering::SeqCst) == 0 {
                    return Ok(());
                }
                done.await;
            }
        })
    }

    fn hold(&self, window: Operation, seconds: f64) -> Reply<'_, ()> {
        Box::pin(self.void("hold", json!({"window": window.name(), "seconds": seconds})))
    }

    fn view(&self, window: Operation) -> Reply<'_, View> {
        Box::pin(async move {
            let (rates, shortest) = self.rates(window);
            let arguments = json!({"window": window.name(), "rates": rates, "shortest": shortest});
            Ok(self.link.call::<wire::Viewed>("view", &arguments).await?.into())
        })
    }

    fn close<'a>(&'a self, action_id: &'a str) -> Reply<'a, bool> {
        Box::pin(async move { Ok(self.link.call::<wire::Closed>("close", &json!({"action": action_id})).await?.freed) })
    }

    fn clear_doubt(&self, machine_id: String, seconds: f64) -> Reply<'_, bool> {
        Box::pin(async move {
            let arguments = json!({"machine": machine_id, "seconds": seconds});
            Ok(self.link.call::<wire::Closed>("clear_doubt", &arguments).await?.freed)
        })
    }

    fn slots(&self) -> Reply<'_, Vec<Slot>> {
        Box::pin(async move { Ok(self.link.call::<wire::Slots>("slots", &json!({})).await?.into()) })
    }

    fn learn(&self, sessions: Vec<Learned>) -> Reply<'_, ()> {
        let session =
            |told: &Learned| json!({"machine": told.machine_id, "action": told.action_id, "lease": told.lease});
        Box::pin(self.void("learn", json!({"sessions": sessions.iter().map(session).collect::<Vec<_>>()})))
    }

    fn intent(&self, key: IntentKey, commands: Vec<Command>, comment: String) -> Reply<'_, Found> {
        Box::pin(async move {
            let json = serde_json::to_string(&commands).unwrap_or_default();
            let arguments = saying(
                &key,
                [
                    ("commands", json.into()),
                    ("comment", comment.into()),
                    ("keep", kept::INTENTS.into()),
                    ("piece", kept::PIECE.into()),
                ],
            );
            let intended: wire::Intended = self.link.call("intent", &arguments).await?;
            let (known, lost_since) = (intended.known, intended.lost_since());
            let intent = intended.intent.and_then(|intent| intent.read().ok()).ok_or_else(|| self.unreadable())?;
            Ok(Found { intent, known, lost_since })
        })
    }

    fn known_intent(&self, key: IntentKey) -> Reply<'_, Option<Intent>> {
        Box::pin(async move {
            let intended: wire::Intended = self.link.call("known_intent", &about(&key)).await?;
            intended.intent.map(|intent| intent.read().map_err(|_| self.unreadable())).transpose()
        })
    }

    fn take_turn(&self, key: IntentKey, token: u64, lease: f64) -> Reply<'_, bool> {
        Box::pin(async move {
            let arguments = saying(&key, [("token", name(token)), ("lease", lease.into())]);
            Ok(self.link.call::<wire::Taken>("take_turn", &arguments).await?.mine)
        })
    }

    fn posted(&self, key: IntentKey, token: u64, posted: bool) -> Reply<'_, ()> {
        Box::pin(async move {
            let arguments =
                saying(&key, [("token", name(token)), ("posted", posted.into()), ("keep", kept::INTENTS.into())]);
            match self.link.call::<wire::Posted>("posted", &arguments).await?.right.as_str() {
                "held" => Ok(()),
                "no slot" => Err(lost_slot(&key)),
                _ => Err(lost_turn(&key)),
            }
        })
    }

    fn settled(&self, key: IntentKey, action_id: String, lease: Option<f64>) -> Reply<'_, ()> {
        Box::pin(self.void(
            "settled",
            saying(&key, [("action", action_id.into()), ("lease", lease.into()), ("keep", kept::INTENTS.into())]),
        ))
    }

    fn withdraw(&self, key: IntentKey) -> Reply<'_, ()> {
        Box::pin(self.void("withdraw", about(&key)))
    }

    fn put_looks(&self, looks: Vec<(String, String)>) -> Reply<'_, ()> {
        Box::pin(self.void("put_looks", json!({"looks": looks, "keep": kept::LOOKS})))
    }

    fn looks(&self, action_ids: Vec<String>, max_age: f64) -> Reply<'_, Vec<(String, Look)>> {
        Box::pin(async move {
            let arguments = json!({"actions": action_ids, "max_age": max_age});
            Ok(self.link.call::<wire::Looks>("looks", &arguments).await?.into())
        })
    }

    fn journal(&self) -> Option<&dyn Journal> {
        Some(self)
    }

    fn snapshot(&self) -> Reply<'_, Snapshot> {
        Box::pin(async move {
            let windows: Vec<_> =
                Operation::ALL.iter().map(|window| (window.name(), self.settings.longest(*window))).collect();
            Ok(self.link.call::<wire::Shown>("snapshot", &json!({"windows": windows})).await?.into())
        })
    }

    fn prune(&self, seconds: f64) -> Reply<'_, Pruned> {
        Box::pin(async move { self.link.call("prune", &json!({"seconds": seconds})).await })
    }
}

impl RedisStore {
    fn unreadable(&self) -> crate::error::Error {
        unfit(
            format!("an intent in the state store {} can't be read", self.link.address),
            "give the state store a database of its own",
        )
    }
}
