//! How often to look: fast at first, slow while Pending, and never more than the poller's share of the read windows.

use crate::config::Rate;
use crate::operation::Operation;
use crate::pipeline::Pipeline;

/// Of the read windows: the rest is left to settling, which must not stand in line behind a poll.
const SHARE: f64 = 0.8;
/// Of that share: what comes steadily. The rest may come in a burst.
const SUSTAINED_SHARE: f64 = 0.8;
/// Looks in a burst, at the most.
const MAX_BURST: f64 = 4.0;
/// A Pending session is looked at this many times less often than a running one, at the most.
const MAX_SLOWDOWN: f64 = 10.0;

pub struct Pace {
    /// Seconds between two looks, were there no burst to leave room for.
    pub base: f64,
    /// Seconds between two looks at sessions that nobody waits for.
    pub slot_interval: f64,
    pub list: RefillRate,
    pub single: RefillRate,
}

/// What a bucket lets through.
#[derive(Clone, Copy, Debug)]
pub struct RefillRate {
    /// Seconds.
    pub every: f64,
    pub burst: f64,
}

/// Calls that may be made at once, refilled steadily.
#[derive(Default)]
pub struct TokenBucket {
    taken: f64,
    at: f64,
}

impl Pace {
    pub fn new(rates: &[Rate]) -> Self {
        let share = |rate: &Rate| f64::from(rate.count) * SHARE;
        let base = rates.iter().map(|rate| rate.per / share(rate)).fold(0.05, f64::max);
        let burst = rates
            .iter()
            .map(|rate| share(rate) * (1.0 - SUSTAINED_SHARE))
            .fold(MAX_BURST, f64::min)
            .max(1.0);
        let rate = RefillRate { every: base / SUSTAINED_SHARE, burst };
        Self { base, slot_interval: base * 5.0, list: rate, single: rate }
    }

    /// Seconds from the last that was heard of a session to the next look at it.
    pub fn interval(&self, now: f64, since: f64, pending_since: Option<f64>) -> f64 {
        match pending_since {
            _ if now - since < self.base => self.base / 3.0,
            Some(since) => ((now - since) / 20.0).clamp(self.base, self.base * MAX_SLOWDOWN),
            None => self.base,
        }
    }

    /// Seconds from one look to the next at the least, where only `free_share` of a window is free.
    pub fn min_gap(&self, free_share: f64) -> f64 {
        if free_share <= 1.0 - SHARE { self.base * MAX_SLOWDOWN } else { 0.0 }
    }

    /// The part of the lists' windows that is free.
    pub async fn free_share(&self, pipeline: &Pipeline) -> f64 {
        let Some(quota) = pipeline.quota_if_loaded() else { return 1.0 };
        quota.window_usage(Operation::ListMachineActions).await.map_or(1.0, |view| view.free_share)
    }
}

impl TokenBucket {
    fn refill(&mut self, now: f64, rate: RefillRate) {
        self.taken = (self.taken - (now - self.at).max(0.0) / rate.every).max(0.0);
        self.at = now;
    }

    /// When there is room for one more.
    pub fn ready_at(&mut self, now: f64, rate: RefillRate) -> f64 {
        self.refill(now, rate);
        now + (self.taken + 1.0 - rate.burst).max(0.0) * rate.every
    }

    /// Takes one, be there room or not.
    pub fn take(&mut self, now: f64, rate: RefillRate) {
        self.refill(now, rate);
        self.taken += 1.0;
    }

    /// Of one that was taken and then not needed.
    pub fn refund(&mut self) {
        self.taken = (self.taken - 1.0).max(0.0);
    }

    pub fn try_take(&mut self, now: f64, rate: RefillRate) -> bool {
        let room = self.ready_at(now, rate) <= now;
        if room {
            self.taken += 1.0;
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_own_limits_make_twenty_a_minute_at_the_most() {
        let pace = Pace::new(&[Rate { count: 100, per: 60.0 }, Rate { count: 1500, per: 3600.0 }]);
        assert!((pace.base - 3.0).abs() < 1e-9 && (pace.list.every - 3.75).abs() < 1e-9);
        let (mut bucket, mut now, mut taken) = (TokenBucket::default(), 1e9, 0);
        let end = now + 60.0;
        while now < end {
            taken += i32::from(bucket.try_take(now, pace.list));
            now += 0.01;
        }
        assert!((19..=20).contains(&taken), "{taken}");
    }

    #[test]
    fn fast_at_first_and_slow_while_pending() {
        let pace = Pace::new(&[Rate { count: 100, per: 60.0 }, Rate { count: 1500, per: 3600.0 }]);
        let seconds =
            [(0.0, None), (10.0, None), (10.0, Some(0.0)), (400.0, Some(0.0)), (7200.0, Some(0.0))];
        let intervals = seconds.map(|(now, pending)| pace.interval(now, 0.0, pending).round());
        assert_eq!(intervals, [1.0, 3.0, 3.0, 20.0, 30.0]);
    }
}
