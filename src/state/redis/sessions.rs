//! Slots, intents and cached statuses in Redis.

use serde_json::json;

use super::checks::session_args;
use super::reply::{
    CachedStatusesReply, FreedReply, IntentReply, LeaseReply, PostedReply, SlotsReply,
};
use super::{RedisStore, intent_args, intent_args_with};
use crate::error::Error;
use crate::model::Command;
use crate::state::intents::{Intent, IntentKey, IntentLookup, IntentStore};
use crate::state::slots::{OpenSession, SessionSlot, SlotStore};
use crate::state::status_cache::{CachedStatus, StatusCache};
use crate::state::store_error::{lease_lost_error, slot_lost_error, unusable_error};
use crate::state::{StoreFuture, hex_id, retention};

impl SlotStore for RedisStore {
    fn slots(&self) -> StoreFuture<'_, Vec<SessionSlot>> {
        Box::pin(async move {
            Ok(self.connection.call::<SlotsReply>("slots", &json!({})).await?.into())
        })
    }

    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()> {
        Box::pin(self.call_void(
            "record_open_sessions",
            json!({"sessions": sessions.iter().map(session_args).collect::<Vec<_>>()}),
        ))
    }

    fn close_session<'a>(&'a self, action_id: &'a str) -> StoreFuture<'a, bool> {
        Box::pin(async move {
            Ok(self
                .connection
                .call::<FreedReply>("close_session", &json!({"action": action_id}))
                .await?
                .freed)
        })
    }

    fn release_in_doubt_slot(&self, machine_id: String, seconds: f64) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let arguments = json!({"machine": machine_id, "seconds": seconds});
            Ok(self.connection.call::<FreedReply>("release_in_doubt_slot", &arguments).await?.freed)
        })
    }
}

impl IntentStore for RedisStore {
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
            let reply: IntentReply =
                self.connection.call("get_or_create_intent", &arguments).await?;
            let (known, since_state_loss) = (reply.known, reply.since_state_loss());
            let intent = reply
                .intent
                .and_then(|intent| intent.read().ok())
                .ok_or_else(|| self.unreadable_intent())?;
            Ok(IntentLookup { intent, known, since_state_loss })
        })
    }

    fn get_intent(&self, key: IntentKey) -> StoreFuture<'_, Option<Intent>> {
        Box::pin(async move {
            let reply: IntentReply = self.connection.call("get_intent", &intent_args(&key)).await?;
            reply
                .intent
                .map(|intent| intent.read().map_err(|_| self.unreadable_intent()))
                .transpose()
        })
    }

    fn acquire_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let arguments =
                intent_args_with(&key, [("token", hex_id(token).into()), ("lease", lease.into())]);
            Ok(self.connection.call::<LeaseReply>("acquire_lease", &arguments).await?.held)
        })
    }

    fn renew_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            let arguments =
                intent_args_with(&key, [("token", hex_id(token).into()), ("lease", lease.into())]);
            Ok(self.connection.call::<LeaseReply>("renew_lease", &arguments).await?.held)
        })
    }

    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let arguments = intent_args_with(
                &key,
                [
                    ("token", hex_id(token).into()),
                    ("posted", posted.into()),
                    ("keep", retention::INTENTS.into()),
                ],
            );
            match self
                .connection
                .call::<PostedReply>("record_posted", &arguments)
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

    fn is_action_recorded(&self, action_id: String) -> StoreFuture<'_, bool> {
        let arguments = json!({"action": action_id, "keep": retention::INTENTS});
        Box::pin(self.call_bool("is_action_recorded", arguments))
    }

    fn record_unreliable_comments(&self) -> StoreFuture<'_, ()> {
        Box::pin(self.call_void("record_unreliable_comments", json!({})))
    }

    fn has_unreliable_comments(&self) -> StoreFuture<'_, bool> {
        Box::pin(self.call_bool("has_unreliable_comments", json!({})))
    }
}

impl StatusCache for RedisStore {
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
                .call::<CachedStatusesReply>("cached_statuses", &arguments)
                .await?
                .into())
        })
    }
}

impl RedisStore {
    fn unreadable_intent(&self) -> Error {
        unusable_error(
            format!("an intent in the state store {} can't be parsed", self.connection.address),
            "use a separate database for the state store",
        )
    }
}
