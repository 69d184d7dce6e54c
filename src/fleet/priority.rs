//! The order of the rows: machines that were online recently, then the others, then those that did
//! not answer.

use std::collections::BTreeSet;

use crate::model::Machine;

/// Lower goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PriorityClass {
    /// Started by a worker that is gone: its session may be running already.
    Resumed,
    Online,
    Unknown,
    Offline,
    /// Its session was parked.
    Parked,
}

/// Lower goes first: the class, then minutes since the machine was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    pub class: PriorityClass,
    minutes_since_seen: u32,
}

impl Priority {
    pub const fn from_class(class: PriorityClass) -> Self {
        Self { class, minutes_since_seen: 0 }
    }

    /// Ranks a machine by its `healthStatus` and `lastSeen` (page "machine").
    pub fn from_machine(machine: &Machine, now: f64) -> Self {
        let seen =
            machine.last_seen.map_or(f64::INFINITY, |seen| (now - seen.to_unix()).max(0.0) / 60.0);
        let class = match machine.health_status.as_deref() {
            Some("Active") => PriorityClass::Online,
            None => PriorityClass::Unknown,
            Some(_) => PriorityClass::Offline,
        };
        Self { class, minutes_since_seen: seen.clamp(0.0, f64::from(u32::MAX)) as u32 }
    }
}

/// Rows that can be submitted now, and rows that wait until a given time.
#[derive(Debug, Default)]
pub struct Queue {
    ready: BTreeSet<(Priority, u32)>,
    /// Ordered by the time at which they are ready, in milliseconds.
    delayed: BTreeSet<(u64, Priority, u32)>,
}

impl Queue {
    pub fn push(&mut self, row: u32, priority: Priority) {
        self.ready.insert((priority, row));
    }

    pub fn push_delayed(&mut self, row: u32, priority: Priority, at: f64) {
        self.delayed.insert(((at.max(0.0) * 1000.0) as u64, priority, row));
    }

    /// Makes the delayed rows ready whose time has come.
    pub fn promote_due(&mut self, now: f64) {
        while let Some((at, priority, row)) = self.delayed.first().copied()
            && at as f64 <= now * 1000.0
        {
            self.delayed.pop_first();
            self.push(row, priority);
        }
    }

    pub fn remove(&mut self, row: u32, priority: Priority) {
        if !self.ready.remove(&(priority, row)) {
            self.delayed.retain(|(.., other)| *other != row);
        }
    }

    /// Returns the first rows without removing them, best first.
    pub fn peek(&self, count: usize) -> Vec<u32> {
        self.ready.iter().take(count).map(|(_, row)| *row).collect()
    }

    pub fn best_class(&self) -> Option<PriorityClass> {
        self.ready.first().map(|(priority, _)| priority.class)
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(health: Option<&str>, seen: &str) -> Machine {
        let body = serde_json::json!({"id": "a", "healthStatus": health, "lastSeen": seen});
        crate::model::decode_entity(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn recently_seen_machines_go_first() {
        let now = crate::model::Timestamp::parse("2026-01-02T00:00:00Z").unwrap().to_unix();
        let priority = |health, seen| Priority::from_machine(&machine(health, seen), now);
        let mut queue = Queue::default();
        queue.push(0, priority(Some("Inactive"), "2026-01-01T23:59:00Z"));
        queue.push(1, priority(None, "2026-01-01T23:59:00Z"));
        queue.push(2, priority(Some("Active"), "2026-01-01T00:00:00Z"));
        queue.push(3, priority(Some("Active"), "2026-01-01T23:00:00Z"));
        queue.push(4, Priority::from_class(PriorityClass::Resumed));
        queue.push_delayed(5, Priority::from_class(PriorityClass::Online), now + 5.0);
        queue.promote_due(now);
        assert_eq!(queue.peek(9), [4, 3, 2, 1, 0]);
        queue.promote_due(now + 5.0);
        assert_eq!(queue.peek(2), [4, 5]);
    }
}
