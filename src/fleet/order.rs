//! Which machine first: those that the service heard of lately, then the rest, and last those that did not answer.

use std::collections::BTreeSet;

use crate::model::Machine;

/// Lower goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Begun by a worker that is gone: what it started is looked for first.
    TakenUp,
    Online,
    Unknown,
    Offline,
    /// Was Pending for so long that others needed its slot.
    Parked,
}

/// Lower goes first: the class, then minutes since the machine was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    pub class: Class,
    minutes: u32,
}

impl Rank {
    pub const fn of(class: Class) -> Self {
        Self { class, minutes: 0 }
    }

    /// How likely the machine answers, by its `healthStatus` and `lastSeen` (page "machine").
    pub fn likely(machine: &Machine, now: f64) -> Self {
        let seen = machine.last_seen.map_or(f64::INFINITY, |seen| (now - seen.unix()).max(0.0) / 60.0);
        let class = match machine.health_status.as_deref() {
            Some("Active") => Class::Online,
            None => Class::Unknown,
            Some(_) => Class::Offline,
        };
        Self { class, minutes: seen.clamp(0.0, f64::from(u32::MAX)) as u32 }
    }
}

/// Rows that could be submitted now, and those that could be later.
#[derive(Debug, Default)]
pub struct Queue {
    ready: BTreeSet<(Rank, u32)>,
    /// By the time at which they are ready, in milliseconds.
    later: BTreeSet<(u64, Rank, u32)>,
}

impl Queue {
    pub fn push(&mut self, row: u32, rank: Rank) {
        self.ready.insert((rank, row));
    }

    pub fn push_later(&mut self, row: u32, rank: Rank, at: f64) {
        self.later.insert(((at.max(0.0) * 1000.0) as u64, rank, row));
    }

    /// Moves what is due by now.
    pub fn refill(&mut self, now: f64) {
        while let Some((at, rank, row)) = self.later.first().copied()
            && at as f64 <= now * 1000.0
        {
            self.later.pop_first();
            self.push(row, rank);
        }
    }

    pub fn remove(&mut self, row: u32, rank: Rank) {
        if !self.ready.remove(&(rank, row)) {
            self.later.retain(|(.., other)| *other != row);
        }
    }

    /// The first rows, best first.
    pub fn first(&self, count: usize) -> Vec<u32> {
        self.ready.iter().take(count).map(|(_, row)| *row).collect()
    }

    pub fn best(&self) -> Option<Class> {
        self.ready.first().map(|(rank, _)| rank.class)
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
        crate::model::entity(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn the_machines_heard_of_lately_go_first() {
        let now = crate::model::Timestamp::parse("2026-01-02T00:00:00Z").unwrap().unix();
        let rank = |health, seen| Rank::likely(&machine(health, seen), now);
        let mut queue = Queue::default();
        queue.push(0, rank(Some("Inactive"), "2026-01-01T23:59:00Z"));
        queue.push(1, rank(None, "2026-01-01T23:59:00Z"));
        queue.push(2, rank(Some("Active"), "2026-01-01T00:00:00Z"));
        queue.push(3, rank(Some("Active"), "2026-01-01T23:00:00Z"));
        queue.push(4, Rank::of(Class::TakenUp));
        queue.push_later(5, Rank::of(Class::Online), now + 5.0);
        queue.refill(now);
        assert_eq!(queue.first(9), [4, 3, 2, 1, 0]);
        queue.refill(now + 5.0);
        assert_eq!(queue.first(2), [4, 5]);
    }
}
