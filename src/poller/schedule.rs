//! Decides when to poll: often at first, rarely while Pending, and always within the poller's share
//! of the read limits.

use super::Poller;
use super::table::{WatchEntry, WatchTable};
use super::token_bucket::RefillRate;
use crate::config::Rate;
use crate::operation::Operation;
use crate::pipeline::Pipeline;

/// The poller's share of the read limits. The rest is for submits that search for a lost action,
/// because they must not wait behind polls.
const SHARE: f64 = 0.8;
/// The part of that share that is used steadily. The rest is for bursts.
const SUSTAINED_SHARE: f64 = 0.8;
/// The most polls in a burst.
const MAX_BURST: f64 = 4.0;
/// The longest interval for a Pending session, as a multiple of the one for a running session.
const MAX_SLOWDOWN: f64 = 10.0;
/// The longest random delay, as a fraction of the base interval.
const JITTER: f64 = 0.25;

/// The intervals between polls, computed from the read limits.
pub struct Pace {
    /// Seconds between two polls of a running session.
    pub base: f64,
    /// Seconds between two polls of sessions that no caller waits for.
    pub slot_interval: f64,
    /// The rate of list calls, and separately of calls for one action.
    pub calls: RefillRate,
}

impl Pace {
    pub fn new(rates: &[Rate]) -> Self {
        let share = |rate: &Rate| f64::from(rate.count) * SHARE;
        // The strictest window decides. The floor prevents a tight loop if the limits are high.
        let base = rates.iter().map(|rate| rate.per / share(rate)).fold(0.05, f64::max);
        let burst = rates
            .iter()
            .map(|rate| share(rate) * (1.0 - SUSTAINED_SHARE))
            .fold(MAX_BURST, f64::min)
            .max(1.0);
        let calls = RefillRate { every: base / SUSTAINED_SHARE, burst };
        Self { base, slot_interval: base * 5.0, calls }
    }

    /// Returns the seconds from the last update of a session to its next poll.
    pub fn interval(&self, now: f64, since: f64, pending_since: Option<f64>) -> f64 {
        match pending_since {
            // A short script ends within seconds, so a new session is polled more often.
            _ if now - since < self.base => self.base / 3.0,
            Some(since) => ((now - since) / 20.0).clamp(self.base, self.base * MAX_SLOWDOWN),
            None => self.base,
        }
    }

    /// Returns the seconds between two polls of a session that no caller waits for in between.
    /// `age` is how long the session exists.
    ///
    /// Each of these polls is a call of its own, so they get rarer as the session gets older. A
    /// caller learns of the end late by at most a fifth of the time that it took.
    pub fn separate_interval(&self, age: f64) -> f64 {
        (age / 5.0).clamp(self.base, self.base * MAX_SLOWDOWN)
    }

    /// Returns the shortest time between two polls if `free_share` of a window is free.
    pub fn min_gap(&self, free_share: f64) -> f64 {
        // Other processes with the same application use the limit too, and need the rest.
        if free_share <= 1.0 - SHARE { self.base * MAX_SLOWDOWN } else { 0.0 }
    }

    /// Returns the free share of the windows of list calls, from 0 to 1.
    pub async fn free_share(&self, pipeline: &Pipeline) -> f64 {
        let Some(quota) = pipeline.quota_if_loaded() else { return 1.0 };
        quota.window_usage(Operation::ListMachineActions).await.map_or(1.0, |view| view.free_share)
    }
}

impl Poller {
    /// Returns the time of the next poll, or None if no caller waits: then the poller's task ends.
    pub(super) async fn next_poll_at(&self) -> Option<f64> {
        let share = self.pace.free_share(&self.pipeline).await;
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        table.prune();
        if table.watched.is_empty() && table.slot_watches == 0 {
            // Set under the lock: a caller that subscribes now must start another task.
            table.running = false;
            return None;
        }
        let due = self.due_at(&table, now) + self.jitter();
        let rested = table.polled_at + self.pace.min_gap(share);
        Some(due.max(rested).max(table.list_bucket.ready_at(now, self.pace.calls)))
    }

    /// Returns the time at which the first of the watched actions should be polled.
    pub(super) fn due_at(&self, table: &WatchTable, now: f64) -> f64 {
        let due = |entry: &WatchEntry| {
            entry.last_update_at + self.pace.interval(now, entry.since, entry.pending_since)
        };
        let slots_due = if table.slot_watches > 0 {
            table.polled_at + self.pace.slot_interval
        } else {
            f64::INFINITY
        };
        table.watched.values().map(due).fold(slots_due, f64::min)
    }

    /// Returns a random delay in seconds. Of several clients with a poll due, the first one can
    /// then serve the others.
    fn jitter(&self) -> f64 {
        fastrand::f64() * JITTER * self.pace.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::poller::token_bucket::TokenBucket;

    #[test]
    fn the_default_limits_allow_twenty_polls_a_minute() {
        let pace = Pace::new(&[Rate { count: 100, per: 60.0 }, Rate { count: 1500, per: 3600.0 }]);
        assert!((pace.base - 3.0).abs() < 1e-9 && (pace.calls.every - 3.75).abs() < 1e-9);
        let (mut bucket, mut now, mut taken) = (TokenBucket::default(), 1e9, 0);
        let end = now + 60.0;
        while now < end {
            taken += i32::from(bucket.try_take(now, pace.calls));
            now += 0.01;
        }
        assert!((19..=20).contains(&taken), "{taken}");
    }

    #[test]
    fn polls_are_frequent_at_first_and_rare_while_pending() {
        let pace = Pace::new(&[Rate { count: 100, per: 60.0 }, Rate { count: 1500, per: 3600.0 }]);
        let seconds =
            [(0.0, None), (10.0, None), (10.0, Some(0.0)), (400.0, Some(0.0)), (7200.0, Some(0.0))];
        let intervals = seconds.map(|(now, pending)| pace.interval(now, 0.0, pending).round());
        assert_eq!(intervals, [1.0, 3.0, 3.0, 20.0, 30.0]);
    }

    #[test]
    fn separate_polls_get_rarer_with_the_age_of_the_session() {
        let pace = Pace::new(&[Rate { count: 100, per: 60.0 }, Rate { count: 1500, per: 3600.0 }]);
        let intervals = [-60.0, 0.0, 20.0, 100.0, 7200.0].map(|age| pace.separate_interval(age));
        assert_eq!(intervals.map(f64::round), [3.0, 3.0, 4.0, 20.0, 30.0]);
    }
}
