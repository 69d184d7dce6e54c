//! Slots, intents and cached statuses in memory.

use super::MemoryStore;
use super::tables::{IntentEntry, SlotEntry};
use crate::model::Command;
use crate::state::StoreFuture;
use crate::state::intents::{Intent, IntentKey, IntentLookup, IntentStore};
use crate::state::slots::{OpenSession, SessionSlot, SlotStore};
use crate::state::status_cache::{CachedStatus, StatusCache};
use crate::state::store_error::{lease_lost_error, slot_lost_error};

impl SlotStore for MemoryStore {
    fn slots(&self) -> StoreFuture<'_, Vec<SessionSlot>> {
        self.with(|tables, now| Ok(tables.open_slots(now)))
    }

    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()> {
        self.with(|tables, now| {
            tables.slots.retain(|_, slot_entry| slot_entry.slot.until > now);
            for OpenSession { machine_id, action_id, lease } in sessions {
                let slot_entry = SlotEntry::with_action(&machine_id, None, action_id, now, lease);
                tables.slots.entry(machine_id).or_insert(slot_entry);
            }
            Ok(())
        })
    }

    fn close_session<'a>(&'a self, action_id: &'a str) -> StoreFuture<'a, bool> {
        self.with(|tables, _| {
            let before = tables.slots.len();
            tables.slots.retain(|_, slot_entry| !slot_entry.is_action(action_id));
            Ok(tables.slots.len() != before)
        })
    }

    fn release_in_doubt_slot(&self, machine_id: String, seconds: f64) -> StoreFuture<'_, bool> {
        self.with(|tables, now| {
            let is_in_doubt =
                |slot_entry: &SlotEntry| slot_entry.posted.is_some_and(|at| now - at >= seconds);
            let freed = tables.slots.get(&machine_id).is_some_and(is_in_doubt);
            if freed {
                tables.slots.remove(&machine_id);
            }
            Ok(freed)
        })
    }
}

impl IntentStore for MemoryStore {
    fn get_or_create_intent(
        &self,
        key: IntentKey,
        commands: Vec<Command>,
        comment: String,
    ) -> StoreFuture<'_, IntentLookup> {
        self.with(|tables, now| {
            let known = tables.intents.get(&key).map(|entry| entry.intent.clone());
            if let Some(intent) = known {
                return Ok(IntentLookup { intent, known: true, since_state_loss: None });
            }
            tables.sweep(now);
            let intent = Intent { commands, comment, created: now, posted: false, action_id: None };
            tables.intents.insert(key, IntentEntry { intent: intent.clone(), lease: None });
            Ok(IntentLookup { intent, known: false, since_state_loss: None })
        })
    }

    fn get_intent(&self, key: IntentKey) -> StoreFuture<'_, Option<Intent>> {
        self.with(|tables, _| Ok(tables.intents.get(&key).map(|entry| entry.intent.clone())))
    }

    fn acquire_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        self.with(|tables, now| {
            let Some(entry) = tables.intents.get_mut(&key) else { return Ok(false) };
            let free = entry.lease.is_none_or(|(holder, until)| holder == token || until <= now);
            if free {
                entry.lease = Some((token, now + lease));
            }
            Ok(free)
        })
    }

    fn renew_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        self.with(|tables, now| {
            let entry = tables.intents.get_mut(&key);
            let held = entry.and_then(|entry| entry.lease.as_mut());
            let Some(held) = held.filter(|(holder, _)| *holder == token) else { return Ok(false) };
            held.1 = now + lease;
            Ok(true)
        })
    }

    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()> {
        self.with(|tables, now| {
            let Some(entry) = tables.intents.get_mut(&key) else {
                return Err(lease_lost_error(&key));
            };
            if entry.lease.is_none_or(|(holder, until)| holder != token || until <= now) {
                return Err(lease_lost_error(&key));
            }
            if posted {
                let slot = tables.slots.get_mut(&key.machine_id);
                let Some(slot_entry) = slot
                    .filter(|slot_entry| slot_entry.is_for(&key) && slot_entry.slot.until > now)
                else {
                    return Err(slot_lost_error(&key));
                };
                // The session may run from now on, so the slot is held for its full lease.
                slot_entry.slot.until = now + slot_entry.lease;
                slot_entry.posted = Some(now);
            }
            entry.intent.posted = posted;
            Ok(())
        })
    }

    fn record_action(
        &self,
        key: IntentKey,
        action_id: String,
        lease: Option<f64>,
    ) -> StoreFuture<'_, ()> {
        self.with(|tables, now| {
            let entry = tables.intents.get_mut(&key);
            if entry
                .is_some_and(|entry| entry.intent.action_id.replace(action_id.clone()).is_none())
            {
                tables.note_settled(&key);
            }
            // A slot that another intent took since must not be replaced or freed.
            let slot = tables.slots.get(&key.machine_id);
            if slot
                .is_some_and(|slot_entry| !slot_entry.is_for(&key) && slot_entry.slot.until > now)
            {
                return Ok(());
            }
            match lease {
                Some(lease) => {
                    let slot_entry = SlotEntry::with_action(
                        &key.machine_id,
                        Some(key.correlation_id),
                        action_id,
                        now,
                        lease,
                    );
                    tables.slots.insert(key.machine_id, slot_entry);
                }
                None => {
                    tables.slots.remove(&key.machine_id);
                }
            }
            Ok(())
        })
    }

    fn delete_unsent_intent(&self, key: IntentKey) -> StoreFuture<'_, ()> {
        self.with(|tables, _| {
            if tables.intents.get(&key).is_some_and(|entry| entry.intent.action_id.is_none()) {
                tables.intents.remove(&key);
                tables.slots.retain(|_, slot_entry| {
                    !slot_entry.is_for(&key) || slot_entry.slot.action_id.is_some()
                });
            }
            Ok(())
        })
    }

    fn is_action_recorded(&self, action_id: String) -> StoreFuture<'_, bool> {
        self.with(|tables, _| {
            let mut recorded =
                tables.intents.values().filter_map(|entry| entry.intent.action_id.as_ref());
            Ok(recorded.any(|id| id.eq_ignore_ascii_case(&action_id)))
        })
    }

    fn record_unreliable_comments(&self) -> StoreFuture<'_, ()> {
        self.with(|tables, _| {
            tables.unreliable_comments = true;
            Ok(())
        })
    }

    fn has_unreliable_comments(&self) -> StoreFuture<'_, bool> {
        self.with(|tables, _| Ok(tables.unreliable_comments))
    }
}

impl StatusCache for MemoryStore {
    fn cache_statuses(&self, statuses: Vec<(String, String)>) -> StoreFuture<'_, ()> {
        self.with(|tables, now| {
            tables.sweep(now);
            tables
                .statuses
                .extend(statuses.into_iter().map(|(action_id, body)| (action_id, (now, body))));
            Ok(())
        })
    }

    fn cached_statuses(
        &self,
        action_ids: Vec<String>,
        max_age: f64,
    ) -> StoreFuture<'_, Vec<(String, CachedStatus)>> {
        self.with(|tables, now| {
            let status = |action_id: String| {
                let (at, body) =
                    tables.statuses.get(&action_id).filter(|(at, _)| now - at <= max_age)?;
                Some((action_id, CachedStatus { body: body.clone(), age: now - at }))
            };
            Ok(action_ids.into_iter().filter_map(status).collect())
        })
    }
}
