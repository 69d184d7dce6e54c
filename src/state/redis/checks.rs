//! Holding the data against the service's list, in Redis.

use serde_json::json;

use super::RedisStore;
use super::reply::ActionsReply;
use crate::operation::Operation;
use crate::state::slots::OpenSession;
use crate::state::store_check::{CheckedStore, ListedActions};
use crate::state::{StoreFuture, retention};

impl CheckedStore for RedisStore {
    fn needs_check(&self) -> StoreFuture<'_, bool> {
        Box::pin(self.call_bool("needs_check", json!({})))
    }

    fn find_unknown_actions(&self, action_ids: Vec<String>) -> StoreFuture<'_, Vec<String>> {
        Box::pin(async move {
            let arguments = json!({"actions": action_ids, "keep": retention::INTENTS});
            let reply: ActionsReply =
                self.connection.call("find_unknown_actions", &arguments).await?;
            Ok(reply.actions)
        })
    }

    fn record_check(&self, listed: ListedActions) -> StoreFuture<'_, ()> {
        let window = Operation::RunLiveResponse;
        let sessions: Vec<_> = listed.open.iter().map(session_args).collect();
        Box::pin(self.call_void(
            "record_check",
            json!({
                "unknown": listed.unknown,
                "sessions": sessions,
                "window": window.name(),
                "longest": self.settings.longest_window(window),
                "keep_listed": retention::LISTED_ACTIONS,
            }),
        ))
    }
}

/// Returns the arguments of an open session.
pub fn session_args(session: &OpenSession) -> serde_json::Value {
    json!({
        "machine": session.machine_id,
        "action": session.action_id,
        "lease": session.lease,
    })
}
