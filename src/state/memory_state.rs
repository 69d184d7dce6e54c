//! What the store of one process holds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::memory_window::WindowCalls;
use super::monotonic::MonotonicClock;
use super::queue_scan::{MachineState, QueueScan};
use super::retention;
use super::store::*;
use crate::config::Rate;
use crate::operation::Operation;

/// Intents with an action that are kept.
const MAX_SETTLED_INTENTS: usize = 10_000;

#[derive(Default)]
pub struct MemoryState {
    pub clock: MonotonicClock,
    pub queues: HashMap<Operation, MemoryQueue>,
    pub slots: BTreeMap<String, SlotEntry>,
    pub intents: BTreeMap<IntentKey, IntentEntry>,
    /// Those with an action, oldest first.
    pub settled: VecDeque<IntentKey>,
    pub statuses: HashMap<String, (f64, String)>,
    pub swept: f64,
}

#[derive(Default)]
pub struct MemoryQueue {
    pub calls: WindowCalls,
    /// By arrival.
    pub waiting: BTreeMap<u64, (Ticket, Option<SlotRequest>)>,
    pub arrivals: u64,
}

pub struct SlotEntry {
    pub slot: Slot,
    pub ticket: Option<Ticket>,
    /// From its POST on.
    pub lease: f64,
    pub posted: Option<f64>,
}

pub struct IntentEntry {
    pub intent: Intent,
    pub lease: Option<(u64, f64)>,
}

pub fn scan_queue(
    queue: &MemoryQueue,
    slots: &BTreeMap<String, SlotEntry>,
    mut scan: QueueScan,
) -> QueueScan {
    for (ticket, slot_request) in queue.waiting.values() {
        let slot_request =
            slot_request.as_ref().map(|slot_request| (slot_request, machine(slots, slot_request)));
        if !scan.step(*ticket, slot_request) {
            break;
        }
    }
    scan
}

fn machine(slots: &BTreeMap<String, SlotEntry>, slot_request: &SlotRequest) -> MachineState {
    match slots.get(&slot_request.machine_id).map(|slot_entry| &slot_entry.slot) {
        None => MachineState::Free,
        Some(slot)
            if slot.action_id.is_none()
                && slot.correlation_id.as_ref() == Some(&slot_request.correlation_id) =>
        {
            MachineState::SameIntent
        }
        Some(slot) => MachineState::Busy(slot.action_id.clone()),
    }
}

pub fn occupy(
    slots: &mut BTreeMap<String, SlotEntry>,
    slot_request: SlotRequest,
    ticket: Ticket,
    until: f64,
) {
    let slot = Slot {
        machine_id: slot_request.machine_id.clone(),
        correlation_id: Some(slot_request.correlation_id),
        action_id: None,
        until,
        in_doubt: None,
    };
    slots.insert(
        slot_request.machine_id,
        SlotEntry { slot, ticket: Some(ticket), lease: slot_request.lease, posted: None },
    );
}

impl MemoryQueue {
    pub fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|_, (waiting, _)| *waiting != ticket);
        self.calls.undo(ticket);
    }

    /// What frees a slot or a machine here is told; only a lease runs out in silence.
    pub fn wait(
        &self,
        scan: &QueueScan,
        slots: &BTreeMap<String, SlotEntry>,
        rates: &[Rate],
        now: f64,
    ) -> f64 {
        let room =
            scan.ahead.map_or(f64::INFINITY, |ahead| self.calls.earliest(rates, now, ahead) - now);
        if !scan.blocked {
            return room;
        }
        let lease =
            slots.values().map(|slot_entry| slot_entry.slot.until).fold(f64::INFINITY, f64::min);
        room.min(lease - now)
    }
}

impl SlotEntry {
    pub fn with_action(
        machine_id: &str,
        correlation_id: Option<String>,
        action_id: String,
        now: f64,
        lease: f64,
    ) -> Self {
        let machine_id = machine_id.to_owned();
        let slot = Slot {
            machine_id,
            correlation_id,
            action_id: Some(action_id),
            until: now + lease,
            in_doubt: None,
        };
        Self { slot, ticket: None, lease, posted: None }
    }

    pub fn is_action(&self, action_id: &str) -> bool {
        self.slot.action_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(action_id))
    }

    pub fn is_for(&self, key: &IntentKey) -> bool {
        self.slot.correlation_id.as_ref() == Some(&key.correlation_id)
            && self.slot.machine_id == key.machine_id
    }
}

impl MemoryState {
    /// Forgets an intent of which nothing reached the service, if nobody else is at it.
    pub fn release_lease(&mut self, key: &IntentKey, token: u64) {
        let Some(entry) = self.intents.get_mut(key) else { return };
        entry.lease = entry.lease.filter(|(holder, _)| *holder != token);
        if entry.lease.is_none() && !entry.intent.posted && entry.intent.action_id.is_none() {
            self.intents.remove(key);
            self.slots.retain(|_, slot_entry| {
                !slot_entry.is_for(key) || slot_entry.slot.action_id.is_some()
            });
        }
    }

    /// Keeps what a process remembers within bounds: an older one is found by its tag in the service's list.
    pub fn note_settled(&mut self, key: &IntentKey) {
        self.settled.push_back(key.clone());
        if self.settled.len() > MAX_SETTLED_INTENTS
            && let Some(oldest) = self.settled.pop_front()
        {
            self.intents.remove(&oldest);
        }
    }

    pub fn open(&mut self, now: f64) -> Vec<Slot> {
        self.slots.retain(|_, slot_entry| slot_entry.slot.until > now);
        let shown = |slot_entry: &SlotEntry| Slot {
            in_doubt: slot_entry.posted.map(|at| now - at),
            ..slot_entry.slot.clone()
        };
        self.slots.values().map(shown).collect()
    }

    pub fn snapshot(&mut self, now: f64) -> Snapshot {
        let window = |(operation, queue): (&Operation, &MemoryQueue)| {
            let (running, ended) = queue.calls.counts();
            WindowState {
                name: operation.name().to_owned(),
                running: running as u64,
                ended: ended as u64,
                waiting: queue.waiting.len() as u64,
                blocked_for: (queue.calls.blocked_until() - now).max(0.0),
            }
        };
        let intent = |(key, entry): (&IntentKey, &IntentEntry)| IntentState {
            key: key.clone(),
            intent: entry.intent.clone(),
            lease_held: entry.lease.is_some_and(|(_, until)| until > now),
        };
        let slots = self.open(now);
        let windows = self.queues.iter().map(window).collect();
        Snapshot { now, windows, slots, intents: self.intents.iter().map(intent).collect() }
    }

    pub fn prune(&mut self, now: f64, seconds: f64) -> Pruned {
        let intents = self.forget_intents(now, |intent| intent.created <= now - seconds);
        let statuses = self.forget_statuses(now - seconds);
        Pruned { intents: intents as u64, statuses: statuses as u64, runs: 0 }
    }

    /// Now and then, forgets what is kept no longer.
    pub fn sweep(&mut self, now: f64) {
        if now - self.swept < retention::SWEEP {
            return;
        }
        self.swept = now;
        self.forget_statuses(now - retention::STATUSES);
        self.forget_intents(now, |intent| {
            intent.created <= now - retention::INTENTS && !intent.is_in_doubt()
        });
    }

    /// Less those that are open, or that somebody is at.
    fn forget_intents(&mut self, now: f64, is_old: impl Fn(&Intent) -> bool) -> usize {
        let before = self.intents.len();
        self.intents.retain(|key, entry| {
            let slot = self.slots.get(&key.machine_id);
            let is_open = slot
                .is_some_and(|slot_entry| slot_entry.is_for(key) && slot_entry.slot.until > now);
            let is_taken = entry.lease.is_some_and(|(_, until)| until > now);
            is_open || is_taken || !is_old(&entry.intent)
        });
        self.settled.retain(|key| self.intents.contains_key(key));
        before - self.intents.len()
    }

    fn forget_statuses(&mut self, before: f64) -> usize {
        let count = self.statuses.len();
        self.statuses.retain(|_, (at, _)| *at > before);
        count - self.statuses.len()
    }
}
