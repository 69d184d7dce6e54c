//! The timed events of sessions.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::emulator::clock::Tick;
use crate::emulator::session::script::ScriptFn;

/// What happens to an action at a given time. The event is ignored if it no longer fits the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionEvent {
    /// The machine picks up a pending action.
    Start,
    /// A pending action has waited too long.
    Expire,
    /// A command begins to run.
    Execute(usize),
    /// A command ends.
    EndStep(usize),
    /// A requested cancellation takes effect.
    Cancel,
    /// Another caller's session ends.
    EndForeign,
}

/// All future events, soonest first. Events of the same time keep the order in which they were
/// added.
#[derive(Debug, Default)]
pub struct EventQueue {
    heap: BinaryHeap<Reverse<(Tick, u64, u32, SessionEvent)>>,
    /// Number of the last event. It breaks ties between events of the same time.
    sequence: u64,
}

impl EventQueue {
    pub fn schedule(&mut self, when: Tick, action: u32, event: SessionEvent) {
        self.sequence += 1;
        self.heap.push(Reverse((when, self.sequence, action, event)));
    }

    /// Returns when the session of another caller ends, or `None` if the action is none.
    pub fn end_of_foreign(&self, action: u32) -> Option<Tick> {
        let mut events = self.heap.iter().map(|Reverse(event)| event);
        let end = |(_, _, of, event): &&(Tick, u64, u32, SessionEvent)| {
            *of == action && *event == SessionEvent::EndForeign
        };
        events.find(end).map(|(when, ..)| *when)
    }

    /// Removes and returns the first event that is due at `now`.
    pub fn pop_due(&mut self, now: Tick) -> Option<(Tick, u32, SessionEvent)> {
        let Reverse((when, ..)) = self.heap.peek()?;
        if *when > now {
            return None;
        }
        self.heap.pop().map(|Reverse((when, _, action, event))| (when, action, event))
    }
}

/// A script to call without the lock.
pub struct DueScript {
    pub action: u32,
    pub step: usize,
    pub machine: String,
    pub args: Option<String>,
    pub run: ScriptFn,
}
