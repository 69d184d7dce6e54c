//! The store of one process: what is open, what is intended, and the lines for every endpoint.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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
    cap: usize,
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Default)]
struct Table {
    /// By machine: one session each.
    open: HashMap<String, Open>,
    /// By arrival.
    waiting: BTreeMap<u64, String>,
    next_ticket: u64,
    intents: HashMap<IntentKey, Arc<Intent>>,
}

struct Open {
    action_id: Option<String>,
    /// When the service must have ended it, whether we saw it or not.
    until: f64,
}

/// What one correlation id means: within tenant, application and machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IntentKey {
    pub machine_id: String,
    pub correlation_id: String,
}

/// One intended submit, from before its POST on.
pub struct Intent {
    pub commands: Vec<Command>,
    /// Held by the one who submits; whoever comes later with the same id waits, then adopts.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    progress: Mutex<Progress>,
}

/// How far an intent came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// A POST may have reached the service.
    pub posted: bool,
    pub action_id: Option<String>,
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

/// One of our own sessions is on the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Occupied {
    pub action_id: Option<String>,
}

impl Memory {
    pub fn new(limits: &Limits, clock: Clock) -> Self {
        let read = |operation| (operation, Arc::new(Line::new(&limits.read, clock)));
        Self {
            clock,
            lines: Operation::ALL.into_iter().map(read).collect(),
            submits: Arc::new(Line::new(&limits.submit, clock)),
            cap: limits.sessions as usize,
            table: Mutex::default(),
            changed: Notify::new(),
        }
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
            if may_go {
                tokio::select! { () = changed => {}, () = self.submits.wait_for_room() => {} }
            } else {
                changed.await;
            }
        }
    }

    fn standing(&self, ticket: &Ticket) -> Standing {
        let mut table = self.table();
        table.expire(self.clock.now());
        if let Some(open) = table.open.get(&ticket.machine_id) {
            return Standing::Occupied(Occupied { action_id: open.action_id.clone() });
        }
        let earlier = table.waiting.range(..ticket.number).any(|(_, machine)| !table.open.contains_key(machine));
        if earlier || table.open.len() >= self.cap { Standing::Behind } else { Standing::First }
    }

    fn occupy(self: &Arc<Self>, machine_id: &str, lease: f64) -> SlotGuard {
        let open = Open { action_id: None, until: self.clock.now() + lease };
        self.table().open.insert(machine_id.to_owned(), open);
        SlotGuard { memory: self.clone(), machine_id: Some(machine_id.to_owned()) }
    }

    /// The action is over: its slot and its machine are free.
    pub fn close(&self, action_id: &str) {
        let freed = {
            let mut table = self.table();
            let before = table.open.len();
            table.open.retain(|_, open| open.action_id.as_deref() != Some(action_id));
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
        self.cap.saturating_sub(self.table().open.len())
    }

    /// The intent of `key`, made with `commands` where there is none. The second value tells whether it was there.
    pub fn intent(&self, key: &IntentKey, commands: &[Command]) -> (Arc<Intent>, bool) {
        let mut table = self.table();
        if let Some(known) = table.intents.get(key) {
            return (known.clone(), true);
        }
        let intent = Arc::new(Intent { commands: commands.to_vec(), turn: Arc::default(), progress: Mutex::default() });
        table.intents.insert(key.clone(), intent.clone());
        (intent, false)
    }

    pub fn known_intent(&self, key: &IntentKey) -> Option<Arc<Intent>> {
        self.table().intents.get(key).cloned()
    }

    /// Nothing of the intent reached the service.
    pub fn withdraw(&self, key: &IntentKey) {
        self.table().intents.remove(key);
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
        self.machine_id = None;
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

impl Intent {
    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_posted(&self, posted: bool) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).posted = posted;
    }

    pub fn set_action(&self, action_id: &str) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).action_id = Some(action_id.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Rate;

    fn memory(sessions: u32) -> Arc<Memory> {
        let submit = vec![Rate::new(1000, 1.0).unwrap()];
        Arc::new(Memory::new(&Limits { sessions, submit, ..Limits::default() }, Clock::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_machine_at_the_head_holds_nobody_up() {
        let memory = memory(50);
        memory.admit("a", 100.0, true).await.unwrap_or_else(|_| unreachable!()).slot.keep("action-a");
        let second = tokio::spawn({
            let memory = memory.clone();
            async move { memory.admit("a", 100.0, true).await.map(|admission| admission.slot.keep("action-a2")) }
        });
        tokio::task::yield_now().await;
        assert!(memory.admit("b", 100.0, true).await.is_ok());
        let occupied = memory.admit("a", 100.0, false).await.err();
        assert_eq!(occupied, Some(Occupied { action_id: Some("action-a".to_owned()) }));
        memory.close("action-a");
        assert!(second.await.unwrap().is_ok());
        assert_eq!(memory.open_actions(), ["action-a2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_freed_by_its_guard_its_action_or_its_time() {
        let memory = memory(1);
        drop(memory.admit("a", 100.0, true).await.unwrap_or_else(|_| unreachable!()));
        memory.admit("b", 100.0, true).await.unwrap_or_else(|_| unreachable!()).slot.keep("action-b");
        assert_eq!(memory.slots_left(), 0);
        memory.close("action-b");
        memory.admit("c", 100.0, true).await.unwrap_or_else(|_| unreachable!()).slot.leave_taken();
        assert_eq!(memory.slots_left(), 0);
        tokio::time::advance(std::time::Duration::from_secs(101)).await;
        assert!(memory.admit("d", 100.0, true).await.is_ok());
    }
}
