//! The store of one process: what is open, what is intended, and the lines for every endpoint.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::intents::{Claim, IntentKey, Intents, Progress};
use super::line::{Line, Pass};
use crate::clock::Clock;
use crate::config::Limits;
use crate::model::Command;
use crate::operation::Operation;

/// Everything that the clients of one quota key share in this process.
pub struct Memory {
    clock: Clock,
    lines: HashMap<Operation, Arc<Line>>,
    submits: Arc<Line>,
    limits: Limits,
    table: Mutex<Table>,
    changed: Notify,
    intents: Arc<Intents>,
}

#[derive(Default)]
struct Table {
    /// By machine: one session each.
    open: HashMap<String, Open>,
    /// By arrival.
    waiting: BTreeMap<u64, String>,
    next_ticket: u64,
}

struct Open {
    action_id: Option<String>,
    /// When the service must have ended it, whether we saw it or not.
    until: f64,
    /// Since when nobody knows whether there is an action.
    in_doubt_since: Option<f64>,
}

/// The right to submit to one machine: a call in the window, and a slot that is freed when this is dropped.
pub struct Admission {
    pub pass: Pass,
    pub slot: SlotGuard,
}

/// A session slot and the machine's lease. Dropped, both are free; kept, they are the action's.
pub struct SlotGuard {
    memory: Arc<Memory>,
    machine_id: Option<String>,
}

/// One of our own sessions is on the machine, or may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Occupied {
    pub action_id: Option<String>,
    pub in_doubt_since: Option<f64>,
}

impl Memory {
    pub fn new(limits: &Limits, clock: Clock) -> Self {
        let read = |operation| (operation, Arc::new(Line::new(&limits.read, clock)));
        Self {
            clock,
            lines: Operation::ALL.into_iter().map(read).collect(),
            submits: Arc::new(Line::new(&limits.submit, clock)),
            limits: limits.clone(),
            table: Mutex::default(),
            changed: Notify::new(),
            intents: Arc::default(),
        }
    }

    /// Whether these are the limits that are kept to here.
    pub fn keeps(&self, limits: &Limits) -> bool {
        self.limits == *limits
    }

    /// The line of an endpoint. Each is counted by itself.
    pub fn line(&self, operation: Operation) -> &Arc<Line> {
        match operation {
            Operation::RunLiveResponse => &self.submits,
            _ => self.lines.get(&operation).unwrap_or(&self.submits),
        }
    }

    /// Stands in line for a slot, the machine and the submit window: first come, first served among those that could go.
    /// With `wait` a machine that one of our own sessions is on is waited for.
    pub async fn admit(self: &Arc<Self>, machine_id: &str, lease: f64, wait: bool) -> Result<Admission, Occupied> {
        let ticket = Ticket::take(self, machine_id);
        loop {
            let changed = self.changed.notified();
            let may_go = match self.standing(&ticket) {
                Standing::Occupied(occupied) if !wait => return Err(occupied),
                Standing::Occupied(_) | Standing::Behind => false,
                Standing::First => true,
            };
            if may_go && let Some(pass) = self.submits.try_enter() {
                return Ok(Admission { pass, slot: self.occupy(machine_id, lease) });
            }
            let room = async { if may_go { self.submits.wait_for_room().await } else { std::future::pending().await } };
            tokio::select! { () = changed => {}, () = room => {}, () = self.until_a_lease_ends() => {} }
        }
    }

    async fn until_a_lease_ends(&self) {
        let first = self.table().open.values().map(|open| open.until).fold(f64::INFINITY, f64::min);
        self.clock.sleep(first - self.clock.now()).await;
    }

    fn standing(&self, ticket: &Ticket) -> Standing {
        let mut table = self.table();
        table.expire(self.clock.now());
        if let Some(open) = table.open.get(&ticket.machine_id) {
            return Standing::Occupied(open.occupied());
        }
        let earlier = table.waiting.range(..ticket.number).any(|(_, machine)| !table.open.contains_key(machine));
        if earlier || table.open.len() >= self.limits.sessions as usize { Standing::Behind } else { Standing::First }
    }

    fn occupy(self: &Arc<Self>, machine_id: &str, lease: f64) -> SlotGuard {
        let open = Open { action_id: None, until: self.clock.now() + lease, in_doubt_since: None };
        self.table().open.insert(machine_id.to_owned(), open);
        SlotGuard { memory: self.clone(), machine_id: Some(machine_id.to_owned()) }
    }

    /// The action is over: its slot and its machine are free.
    pub fn close(&self, action_id: &str) {
        let freed = {
            let mut table = self.table();
            let before = table.open.len();
            let is_it = |open: &Open| open.action_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(action_id));
            table.open.retain(|_, open| !is_it(open));
            table.open.len() != before
        };
        if freed {
            self.changed.notify_waiters();
        }
    }

    /// The actions that hold a slot.
    pub fn open_actions(&self) -> Vec<String> {
        self.table().open.values().filter_map(|open| open.action_id.clone()).collect()
    }

    /// Slots that are not taken.
    pub fn slots_left(&self) -> usize {
        (self.limits.sessions as usize).saturating_sub(self.table().open.len())
    }

    /// What holds the machine, as far as this store knows.
    pub fn occupied(&self, machine_id: &str) -> Option<Occupied> {
        let mut table = self.table();
        table.expire(self.clock.now());
        table.open.get(machine_id).map(Open::occupied)
    }

    /// An action of ours is on the machine, whichever process submitted it.
    pub fn hold(&self, machine_id: &str, action_id: &str, lease: f64) {
        let open =
            Open { action_id: Some(action_id.to_owned()), until: self.clock.now() + lease, in_doubt_since: None };
        self.table().open.insert(machine_id.to_owned(), open);
    }

    /// There is no action after all where one was in doubt.
    pub fn clear_doubt(&self, machine_id: &str) {
        self.table().open.retain(|machine, open| machine != machine_id || open.in_doubt_since.is_none());
        self.changed.notify_waiters();
    }

    /// Waits until fewer slots are taken than now.
    pub async fn until_a_slot_is_free(&self) {
        let before = self.slots_left();
        loop {
            let changed = self.changed.notified();
            if self.slots_left() > before {
                return;
            }
            changed.await;
        }
    }

    /// A share in the intent of `key`, which is made with `commands` where there is none.
    pub fn claim(&self, key: &IntentKey, commands: &[Command]) -> Claim {
        self.intents.claim(key, commands)
    }

    pub fn known_intent(&self, key: &IntentKey) -> Option<Progress> {
        self.intents.known(key)
    }

    pub fn intents(&self) -> usize {
        self.intents.count()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn expire(&mut self, now: f64) {
        self.open.retain(|_, open| open.until > now);
    }
}

impl Open {
    fn occupied(&self) -> Occupied {
        Occupied { action_id: self.action_id.clone(), in_doubt_since: self.in_doubt_since }
    }
}

enum Standing {
    First,
    Behind,
    Occupied(Occupied),
}

/// A place in the line, given up when dropped.
struct Ticket {
    memory: Arc<Memory>,
    number: u64,
    machine_id: String,
}

impl Ticket {
    fn take(memory: &Arc<Memory>, machine_id: &str) -> Self {
        let mut table = memory.table();
        let number = table.next_ticket;
        table.next_ticket += 1;
        table.waiting.insert(number, machine_id.to_owned());
        Self { memory: memory.clone(), number, machine_id: machine_id.to_owned() }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.memory.table().waiting.remove(&self.number);
        self.memory.changed.notify_waiters();
    }
}

impl SlotGuard {
    /// The slot is the action's from here on.
    pub fn keep(mut self, action_id: &str) {
        if let Some(machine_id) = self.machine_id.take()
            && let Some(open) = self.memory.table().open.get_mut(&machine_id)
        {
            open.action_id = Some(action_id.to_owned());
        }
    }

    /// Nobody knows whether an action holds the slot: it stays taken until the service must have ended it.
    pub fn leave_taken(mut self) {
        let now = self.memory.clock.now();
        if let Some(machine_id) = self.machine_id.take()
            && let Some(open) = self.memory.table().open.get_mut(&machine_id)
        {
            open.in_doubt_since = Some(now);
        }
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some(machine_id) = self.machine_id.take() {
            self.memory.table().open.remove(&machine_id);
            self.memory.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
