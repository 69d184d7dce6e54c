//! The store of one process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::ready;

use super::memory_run_store::MemoryRunStore;
use super::memory_state::{IntentEntry, MemoryState, SlotEntry, occupy, scan_queue};
use super::queue_scan::{QueueScan, UNPOSTED_GRACE};
use super::recovery::{lease_lost_error, slot_lost_error};
use super::run_store::RunStore;
use super::store::*;
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;

/// Windows, sessions and intents of one quota key, for the life of the process.
pub struct MemoryStore {
    settings: Settings,
    state: Mutex<MemoryState>,
    run_store: MemoryRunStore,
}

impl MemoryStore {
    pub fn new(settings: Settings) -> Self {
        Self { run_store: MemoryRunStore::new(settings.clone()), settings, state: Mutex::default() }
    }

    fn now(&self, state: &mut MemoryState) -> f64 {
        let raw = self.settings.now.as_ref().map_or_else(|| self.settings.clock.now(), |now| now());
        state.clock.advance_to(raw)
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut MemoryState, f64) -> Result<T>,
    ) -> StoreFuture<'_, T> {
        let mut state = self.state();
        let now = self.now(&mut state);
        let done = act(&mut state, now);
        ready(done).boxed()
    }

    fn admit(&self, request: &AdmissionRequest) -> AdmissionResponse {
        let mut state = self.state();
        let now = self.now(&mut state);
        let rates = self.settings.rates(request.window);
        let MemoryState { queues, slots, .. } = &mut *state;
        slots.retain(|_, slot_entry| slot_entry.slot.until > now);
        let queue = queues.entry(request.window).or_default();
        for ticket in &request.leave {
            queue.leave(*ticket);
            if request.window == Operation::RunLiveResponse {
                slots.retain(|_, slot_entry| {
                    slot_entry.ticket != Some(*ticket) || slot_entry.slot.action_id.is_some()
                });
            }
        }
        let room = queue.calls.room(rates, now);
        if let ([entry], true) = (&request.join[..], queue.waiting.is_empty() && room > 0)
            && entry.slot_request.is_none()
        {
            queue.calls.begin(entry.ticket, now + request.call_lease);
            return AdmissionResponse {
                granted: vec![entry.ticket],
                wait: f64::INFINITY,
                ..AdmissionResponse::default()
            };
        }
        for entry in &request.join {
            queue.waiting.insert(queue.arrivals, (entry.ticket, entry.slot_request.clone()));
            queue.arrivals += 1;
        }
        let free = (self.settings.limits.sessions as usize).saturating_sub(slots.len());
        let scan = scan_queue(queue, slots, QueueScan::new(request.owner, room, free));
        let gone = |ticket: &Ticket| {
            scan.granted.contains(ticket) || scan.occupied.iter().any(|(at, _)| at == ticket)
        };
        let left: Vec<u64> = queue
            .waiting
            .iter()
            .filter(|(_, (ticket, _))| gone(ticket))
            .map(|(at, _)| *at)
            .collect();
        for (ticket, slot_request) in left.iter().filter_map(|at| queue.waiting.remove(at)) {
            if scan.granted.contains(&ticket) {
                queue.calls.begin(ticket, now + request.call_lease);
                if let Some(slot_request) = slot_request {
                    occupy(slots, slot_request, ticket, now + request.call_lease + UNPOSTED_GRACE);
                }
            }
        }
        let wait = queue.wait(&scan, slots, rates, now);
        AdmissionResponse {
            granted: scan.granted,
            occupied: scan.occupied,
            wait,
            ..AdmissionResponse::default()
        }
    }
}

impl Store for MemoryStore {
    fn address(&self) -> &str {
        "memory:"
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse> {
        ready(Ok(self.admit(&request))).boxed()
    }

    fn try_admit_now(&self, request: &AdmissionRequest) -> Option<AdmissionResponse> {
        Some(self.admit(request))
    }

    fn defer(&self, what: DeferredWrite) {
        let mut state = self.state();
        let now = self.now(&mut state);
        match what {
            DeferredWrite::EndCall(window, ticket) => {
                state.queues.entry(window).or_default().calls.end(ticket, now);
            }
            DeferredWrite::ReleaseSlot(machine_id, ticket) => {
                let free = |slot_entry: &SlotEntry| {
                    slot_entry.ticket == Some(ticket) && slot_entry.slot.action_id.is_none()
                };
                if state.slots.get(&machine_id).is_some_and(free) {
                    state.slots.remove(&machine_id);
                }
            }
            DeferredWrite::ReleaseLease(key, token) => state.release_lease(&key, token),
        }
    }

    fn flush(&self) -> StoreFuture<'_, ()> {
        ready(Ok(())).boxed()
    }

    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()> {
        self.with(|state, now| {
            state.queues.entry(window).or_default().calls.block_window(now + seconds);
            Ok(())
        })
    }

    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage> {
        let rates = self.settings.rates(window);
        self.with(|state, now| {
            let queue = state.queues.entry(window).or_default();
            Ok(queue.calls.window_usage(rates, now, queue.waiting.len()))
        })
    }

    fn close_session<'a>(&'a self, action_id: &'a str) -> StoreFuture<'a, bool> {
        self.with(|state, _| {
            let before = state.slots.len();
            state.slots.retain(|_, slot_entry| !slot_entry.is_action(action_id));
            Ok(state.slots.len() != before)
        })
    }

    fn release_in_doubt_slot(&self, machine_id: String, seconds: f64) -> StoreFuture<'_, bool> {
        self.with(|state, now| {
            let doubtful =
                |slot_entry: &SlotEntry| slot_entry.posted.is_some_and(|at| now - at >= seconds);
            let is_doubtful = state.slots.get(&machine_id).is_some_and(doubtful);
            if is_doubtful {
                state.slots.remove(&machine_id);
            }
            Ok(is_doubtful)
        })
    }

    fn slots(&self) -> StoreFuture<'_, Vec<Slot>> {
        self.with(|state, now| Ok(state.open(now)))
    }

    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()> {
        self.with(|state, now| {
            state.slots.retain(|_, slot_entry| slot_entry.slot.until > now);
            for OpenSession { machine_id, action_id, lease } in sessions {
                let slot_entry = SlotEntry::with_action(&machine_id, None, action_id, now, lease);
                state.slots.entry(machine_id).or_insert(slot_entry);
            }
            Ok(())
        })
    }

    fn get_or_create_intent(
        &self,
        key: IntentKey,
        commands: Vec<Command>,
        comment: String,
    ) -> StoreFuture<'_, IntentLookup> {
        self.with(|state, now| {
            let known = state.intents.get(&key).map(|entry| entry.intent.clone());
            if let Some(intent) = known {
                return Ok(IntentLookup { intent, known: true, since_state_loss: None });
            }
            state.sweep(now);
            let intent = Intent { commands, comment, created: now, posted: false, action_id: None };
            state.intents.insert(key, IntentEntry { intent: intent.clone(), lease: None });
            Ok(IntentLookup { intent, known: false, since_state_loss: None })
        })
    }

    fn get_intent(&self, key: IntentKey) -> StoreFuture<'_, Option<Intent>> {
        self.with(|state, _| Ok(state.intents.get(&key).map(|entry| entry.intent.clone())))
    }

    fn acquire_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool> {
        self.with(|state, now| {
            let Some(entry) = state.intents.get_mut(&key) else { return Ok(false) };
            let free = entry.lease.is_none_or(|(holder, until)| holder == token || until <= now);
            if free {
                entry.lease = Some((token, now + lease));
            }
            Ok(free)
        })
    }

    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()> {
        self.with(|state, now| {
            let Some(entry) = state.intents.get_mut(&key) else {
                return Err(lease_lost_error(&key));
            };
            if entry.lease.is_none_or(|(holder, until)| holder != token || until <= now) {
                return Err(lease_lost_error(&key));
            }
            if posted {
                let slot = state.slots.get_mut(&key.machine_id);
                let Some(slot_entry) = slot
                    .filter(|slot_entry| slot_entry.is_for(&key) && slot_entry.slot.until > now)
                else {
                    return Err(slot_lost_error(&key));
                };
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
        self.with(|state, now| {
            let entry = state.intents.get_mut(&key);
            if entry
                .is_some_and(|entry| entry.intent.action_id.replace(action_id.clone()).is_none())
            {
                state.note_settled(&key);
            }
            let slot = state.slots.get(&key.machine_id);
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
                    state.slots.insert(key.machine_id, slot_entry);
                }
                None => {
                    state.slots.remove(&key.machine_id);
                }
            }
            Ok(())
        })
    }

    fn delete_unsent_intent(&self, key: IntentKey) -> StoreFuture<'_, ()> {
        self.with(|state, _| {
            if state.intents.get(&key).is_some_and(|entry| entry.intent.action_id.is_none()) {
                state.intents.remove(&key);
                state.slots.retain(|_, slot_entry| {
                    !slot_entry.is_for(&key) || slot_entry.slot.action_id.is_some()
                });
            }
            Ok(())
        })
    }

    fn cache_statuses(&self, statuses: Vec<(String, String)>) -> StoreFuture<'_, ()> {
        self.with(|state, now| {
            state.sweep(now);
            state
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
        self.with(|state, now| {
            let status = |action_id: String| {
                let (at, body) =
                    state.statuses.get(&action_id).filter(|(at, _)| now - at <= max_age)?;
                Some((action_id, CachedStatus { body: body.clone(), age: now - at }))
            };
            Ok(action_ids.into_iter().filter_map(status).collect())
        })
    }

    fn run_store(&self) -> Option<&dyn RunStore> {
        Some(&self.run_store)
    }

    fn snapshot(&self) -> StoreFuture<'_, Snapshot> {
        self.with(|state, now| Ok(state.snapshot(now)))
    }

    fn prune(&self, seconds: f64) -> StoreFuture<'_, Pruned> {
        let runs = self.run_store.prune(seconds);
        self.with(|state, now| Ok(Pruned { runs, ..state.prune(now, seconds) }))
    }
}
