//! What the store of one process holds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::kept;
use super::memory_window::Calls;
use super::steady::Steady;
use super::store::*;
use super::walk::{Machine, Walk};
use crate::config::Rate;
use crate::operation::Operation;

/// Intents with an action that are kept.
const KEPT: usize = 10_000;

#[derive(Default)]
pub struct Table {
    pub steady: Steady,
    pub lines: HashMap<Operation, Line>,
    pub slots: BTreeMap<String, Taken>,
    pub intents: BTreeMap<IntentKey, Entry>,
    /// Those with an action, oldest first.
    pub settled: VecDeque<IntentKey>,
    pub looks: HashMap<String, (f64, String)>,
    pub swept: f64,
}

#[derive(Default)]
pub struct Line {
    pub calls: Calls,
    /// By arrival.
    pub waiting: BTreeMap<u64, (Ticket, Option<Errand>)>,
    pub arrivals: u64,
}

pub struct Taken {
    pub slot: Slot,
    pub ticket: Option<Ticket>,
    /// From its POST on.
    pub lease: f64,
    pub posted: Option<f64>,
}

pub struct Entry {
    pub intent: Intent,
    pub turn: Option<(u64, f64)>,
}

pub fn walk(line: &Line, slots: &BTreeMap<String, Taken>, mut walk: Walk) -> Walk {
    for (ticket, errand) in line.waiting.values() {
        let errand = errand.as_ref().map(|errand| (errand, machine(slots, errand)));
        if !walk.step(*ticket, errand) {
            break;
        }
    }
    walk
}

fn machine(slots: &BTreeMap<String, Taken>, errand: &Errand) -> Machine {
    match slots.get(&errand.machine_id).map(|taken| &taken.slot) {
        None => Machine::Free,
        Some(slot) if slot.action_id.is_none() && slot.correlation_id.as_ref() == Some(&errand.correlation_id) => {
            Machine::Same
        }
        Some(slot) => Machine::Taken(slot.action_id.clone()),
    }
}

pub fn occupy(slots: &mut BTreeMap<String, Taken>, errand: Errand, ticket: Ticket, until: f64) {
    let slot = Slot {
        machine_id: errand.machine_id.clone(),
        correlation_id: Some(errand.correlation_id),
        action_id: None,
        until,
        in_doubt: None,
    };
    slots.insert(errand.machine_id, Taken { slot, ticket: Some(ticket), lease: errand.lease, posted: None });
}

impl Line {
    pub fn leave(&mut self, ticket: Ticket) {
        self.waiting.retain(|_, (waiting, _)| *waiting != ticket);
        self.calls.undo(ticket);
    }

    /// What frees a slot or a machine here is told; only a lease runs out in silence.
    pub fn wait(&self, walk: &Walk, slots: &BTreeMap<String, Taken>, rates: &[Rate], now: f64) -> f64 {
        let room = walk.ahead.map_or(f64::INFINITY, |ahead| self.calls.earliest(rates, now, ahead) - now);
        if !walk.blocked {
            return room;
        }
        let lease = slots.values().map(|taken| taken.slot.until).fold(f64::INFINITY, f64::min);
        room.min(lease - now)
    }
}

impl Taken {
    pub fn by(machine_id: &str, correlation_id: Option<String>, action_id: String, now: f64, lease: f64) -> Self {
        let machine_id = machine_id.to_owned();
        let slot = Slot { machine_id, correlation_id, action_id: Some(action_id), until: now + lease, in_doubt: None };
        Self { slot, ticket: None, lease, posted: None }
    }

    pub fn is_action(&self, action_id: &str) -> bool {
        self.slot.action_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(action_id))
    }

    pub fn is_for(&self, key: &IntentKey) -> bool {
        self.slot.correlation_id.as_ref() == Some(&key.correlation_id) && self.slot.machine_id == key.machine_id
    }
}

impl Table {
    /// Forgets an intent of which nothing reached the service, if nobody else is at it.
    pub fn leave_turn(&mut self, key: &IntentKey, token: u64) {
        let Some(entry) = self.intents.get_mut(key) else { return };
        entry.turn = entry.turn.filter(|(holder, _)| *holder != token);
        if entry.turn.is_none() && !entry.intent.posted && entry.intent.action_id.is_none() {
            self.intents.remove(key);
            self.slots.retain(|_, taken| !taken.is_for(key) || taken.slot.action_id.is_some());
        }
    }

    /// Keeps what a process remembers within bounds: an older one is found by its tag in the service's list.
    pub fn note_settled(&mut self, key: &IntentKey) {
        self.settled.push_back(key.clone());
        if self.settled.len() > KEPT
            && let Some(oldest) = self.settled.pop_front()
        {
            self.intents.remove(&oldest);
        }
    }

    pub fn open(&mut self, now: f64) -> Vec<Slot> {
        self.slots.retain(|_, taken| taken.slot.until > now);
        let shown = |taken: &Taken| Slot { in_doubt: taken.posted.map(|at| now - at), ..taken.slot.clone() };
        self.slots.values().map(shown).collect()
    }

    pub fn snapshot(&mut self, now: f64) -> Snapshot {
        let window = |(operation, line): (&Operation, &Line)| {
            let (running, ended) = line.calls.counts();
            WindowState {
                name: operation.name().to_owned(),
                running: running as u64,
                ended: ended as u64,
                waiting: line.waiting.len() as u64,
                held: (line.calls.held_until() - now).max(0.0),
            }
        };
        let intent = |(key, entry): (&IntentKey, &Entry)| IntentState {
            key: key.clone(),
            intent: entry.intent.clone(),
            taken: entry.turn.is_some_and(|(_, until)| until > now),
        };
        let slots = self.open(now);
        let windows = self.lines.iter().map(window).collect();
        Snapshot { now, windows, slots, intents: self.intents.iter().map(intent).collect() }
    }

    pub fn prune(&mut self, now: f64, seconds: f64) -> Pruned {
        let intents = self.forget_intents(now, |intent| intent.created <= now - seconds);
        let looks = self.forget_looks(now - seconds);
        Pruned { intents: intents as u64, looks: looks as u64, runs: 0 }
    }

    /// Now and then, forgets what is kept no longer.
    pub fn sweep(&mut self, now: f64) {
        if now - self.swept < kept::SWEEP {
            return;
        }
        self.swept = now;
        self.forget_looks(now - kept::LOOKS);
        self.forget_intents(now, |intent| intent.created <= now - kept::INTENTS && !intent.is_in_doubt());
    }

    /// Less those that are open, or that somebody is at.
    fn forget_intents(&mut self, now: f64, is_old: impl Fn(&Intent) -> bool) -> usize {
        let before = self.intents.len();
        self.intents.retain(|key, entry| {
            let slot = self.slots.get(&key.machine_id);
            let is_open = slot.is_some_and(|taken| taken.is_for(key) && taken.slot.until > now);
            let is_taken = entry.turn.is_some_and(|(_, until)| until > now);
            is_open || is_taken || !is_old(&entry.intent)
        });
        self.settled.retain(|key| self.intents.contains_key(key));
        before - self.intents.len()
    }

    fn forget_looks(&mut self, before: f64) -> usize {
        let count = self.looks.len();
        self.looks.retain(|_, (at, _)| *at > before);
        count - self.looks.len()
    }
}
