//! The data of the memory store.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::window::WindowCalls;
use crate::config::Rate;
use crate::operation::Operation;
use crate::state::monotonic::MonotonicClock;
use crate::state::queue_scan::{MachineState, QueueScan};
use crate::state::retention;
use crate::state::store::{
    Intent, IntentKey, IntentState, Pruned, SessionSlot, SlotRequest, Snapshot, Ticket, WindowState,
};

/// The maximum number of intents kept after their action is known.
const MAX_SETTLED_INTENTS: usize = 10_000;

/// All tables of one quota key, behind one lock.
#[derive(Default)]
pub struct MemoryTables {
    pub clock: MonotonicClock,
    pub queues: HashMap<Operation, MemoryQueue>,
    pub slots: BTreeMap<String, SlotEntry>,
    pub intents: BTreeMap<IntentKey, IntentEntry>,
    /// Intents whose action is known, oldest first.
    pub settled: VecDeque<IntentKey>,
    /// By action id: when it was read, and its JSON.
    pub statuses: HashMap<String, (f64, String)>,
    /// The tenant's comments can't be relied on.
    pub unreliable_comments: bool,
    /// When old records were deleted last.
    pub swept: f64,
}

/// One window and its queue.
#[derive(Default)]
pub struct MemoryQueue {
    pub calls: WindowCalls,
    /// Waiters in order of arrival.
    pub waiting: BTreeMap<u64, (Ticket, Option<SlotRequest>)>,
    pub arrivals: u64,
}

/// A slot, with what the store needs beside it.
pub struct SlotEntry {
    pub slot: SessionSlot,
    pub ticket: Option<Ticket>,
    /// Seconds for which the slot is held from its POST on.
    pub lease: f64,
    /// When the POST was sent.
    pub posted: Option<f64>,
}

/// An intent and its lease.
pub struct IntentEntry {
    pub intent: Intent,
    /// Its holder and its end.
    pub lease: Option<(u64, f64)>,
}

/// Scans the whole queue from its head.
pub fn scan_queue(
    queue: &MemoryQueue,
    slots: &BTreeMap<String, SlotEntry>,
    mut scan: QueueScan,
) -> QueueScan {
    for (ticket, slot_request) in queue.waiting.values() {
        let slot_request =
            slot_request.as_ref().map(|request| (request, machine_state(slots, request)));
        if !scan.step(*ticket, slot_request) {
            break;
        }
    }
    scan
}

fn machine_state(slots: &BTreeMap<String, SlotEntry>, slot_request: &SlotRequest) -> MachineState {
    match slots.get(&slot_request.machine_id).map(|slot_entry| &slot_entry.slot) {
        None => MachineState::Free,
        Some(slot)
            // The process that takes over the intent's lease continues with this slot.
            if slot.action_id.is_none()
                && slot.correlation_id.as_ref() == Some(&slot_request.correlation_id) =>
        {
            MachineState::SameIntent
        }
        Some(slot) => MachineState::Busy(slot.action_id.clone()),
    }
}

/// Takes the slot and the machine for a granted ticket.
pub fn occupy(
    slots: &mut BTreeMap<String, SlotEntry>,
    slot_request: SlotRequest,
    ticket: Ticket,
    until: f64,
) {
    let slot = SessionSlot {
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
    /// Removes the waiter, and its call if it was granted.
    pub fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|_, (waiting, _)| *waiting != ticket);
        // If it was granted before it was removed, nothing was sent for it.
        self.calls.undo(ticket);
    }

    /// Returns the seconds until asking again may help.
    ///
    /// A slot that is freed in this process wakes the queue, so only the end of a lease has to be
    /// waited for.
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
        let next_lease_end =
            slots.values().map(|slot_entry| slot_entry.slot.until).fold(f64::INFINITY, f64::min);
        room.min(next_lease_end - now)
    }
}

impl SlotEntry {
    /// Returns the entry of a slot whose action is known.
    pub fn with_action(
        machine_id: &str,
        correlation_id: Option<String>,
        action_id: String,
        now: f64,
        lease: f64,
    ) -> Self {
        let machine_id = machine_id.to_owned();
        let slot = SessionSlot {
            machine_id,
            correlation_id,
            action_id: Some(action_id),
            until: now + lease,
            in_doubt: None,
        };
        Self { slot, ticket: None, lease, posted: None }
    }

    /// Returns whether the slot is held by the action. Ids are compared without case.
    pub fn is_action(&self, action_id: &str) -> bool {
        self.slot.action_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(action_id))
    }

    pub fn is_for(&self, key: &IntentKey) -> bool {
        self.slot.correlation_id.as_ref() == Some(&key.correlation_id)
            && self.slot.machine_id == key.machine_id
    }
}

impl MemoryTables {
    /// Ends the lease. If nothing of the intent was sent, deletes it and frees its slot, unless
    /// another token holds the lease.
    pub fn release_lease(&mut self, key: &IntentKey, token: u64) {
        let Some(entry) = self.intents.get_mut(key) else { return };
        entry.lease = entry.lease.filter(|(holder, _)| *holder != token);
        // A posted intent stays, because its POST may have started a session.
        if entry.lease.is_none() && !entry.intent.posted && entry.intent.action_id.is_none() {
            self.intents.remove(key);
            self.slots.retain(|_, slot_entry| {
                !slot_entry.is_for(key) || slot_entry.slot.action_id.is_some()
            });
        }
    }

    /// Limits how many settled intents the process keeps.
    ///
    /// A submit whose intent was dropped still finds its action by the tag in the service's list.
    pub fn note_settled(&mut self, key: &IntentKey) {
        self.settled.push_back(key.clone());
        if self.settled.len() > MAX_SETTLED_INTENTS
            && let Some(oldest) = self.settled.pop_front()
        {
            self.intents.remove(&oldest);
        }
    }

    /// Returns the slots that are held, and drops the others.
    pub fn open_slots(&mut self, now: f64) -> Vec<SessionSlot> {
        self.slots.retain(|_, slot_entry| slot_entry.slot.until > now);
        let with_doubt = |slot_entry: &SlotEntry| SessionSlot {
            in_doubt: slot_entry.posted.map(|at| now - at),
            ..slot_entry.slot.clone()
        };
        self.slots.values().map(with_doubt).collect()
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
        let slots = self.open_slots(now);
        let windows = self.queues.iter().map(window).collect();
        Snapshot { now, windows, slots, intents: self.intents.iter().map(intent).collect() }
    }

    /// Deletes what is older than `seconds` and not in use. Runs are pruned by their own store.
    pub fn prune(&mut self, now: f64, seconds: f64) -> Pruned {
        let intents = self.delete_intents(now, |intent| intent.created <= now - seconds);
        let statuses = self.delete_statuses(now - seconds);
        Pruned { intents: intents as u64, statuses: statuses as u64, runs: 0 }
    }

    /// Deletes old records, at most once in [`retention::SWEEP`] seconds.
    pub fn sweep(&mut self, now: f64) {
        if now - self.swept < retention::SWEEP {
            return;
        }
        self.swept = now;
        self.delete_statuses(now - retention::STATUSES);
        self.delete_intents(now, |intent| {
            intent.created <= now - retention::INTENTS && !intent.is_in_doubt()
        });
    }

    /// Deletes old intents, except those that hold a slot or a lease.
    fn delete_intents(&mut self, now: f64, is_old: impl Fn(&Intent) -> bool) -> usize {
        let before = self.intents.len();
        self.intents.retain(|key, entry| {
            let slot = self.slots.get(&key.machine_id);
            let is_open = slot
                .is_some_and(|slot_entry| slot_entry.is_for(key) && slot_entry.slot.until > now);
            let is_taken = entry.lease.is_some_and(|(_, until)| until > now);
            is_open || is_taken || !is_old(&entry.intent)
        });
        // Keeps the queue of settled intents in step with the intents.
        self.settled.retain(|key| self.intents.contains_key(key));
        before - self.intents.len()
    }

    fn delete_statuses(&mut self, before: f64) -> usize {
        let count = self.statuses.len();
        self.statuses.retain(|_, (at, _)| *at > before);
        count - self.statuses.len()
    }
}
