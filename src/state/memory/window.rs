//! The sliding window in memory: a call counts from its start until one window length after its
//! end.
//!
//! The service may count a call at any time between its start and its end, so both must be covered.

use std::collections::VecDeque;

use crate::config::Rate;
use crate::state::admission::{Ticket, WindowUsage};
use crate::state::queue_scan::WINDOW_MARGIN;

/// The calls of one window, to which several rates may apply.
#[derive(Default)]
pub struct WindowCalls {
    /// Running calls, each with the end of its lease. At that time the call counts as ended.
    running: Vec<(Ticket, f64)>,
    /// When calls ended, in order, as far back as the longest rate reaches.
    ended: VecDeque<f64>,
    blocked_until: f64,
}

impl WindowCalls {
    /// Returns how many calls may start now.
    pub fn room(&mut self, rates: &[Rate], now: f64) -> usize {
        self.drop_expired(rates, now);
        if self.blocked_until > now {
            return 0;
        }
        let room =
            rates.iter().map(|rate| (rate.count as usize).saturating_sub(self.counted(rate, now)));
        room.min().unwrap_or(usize::MAX)
    }

    /// Returns the earliest time at which a caller with `ahead` others before it may start.
    pub fn earliest(&self, rates: &[Rate], now: f64, ahead: usize) -> f64 {
        let mut at = self.blocked_until.max(now);
        for rate in rates {
            let expired = self.expired_count(rate, now);
            let counted = self.running.len() + self.ended.len() - expired;
            let Some(index) = (counted + ahead).checked_sub(rate.count as usize) else { continue };
            // A call that still runs ends now at the earliest.
            let end = self.ended.get(expired + index).copied().unwrap_or(now);
            at = at.max(end + rate.per + WINDOW_MARGIN);
        }
        at
    }

    /// Counts a call as running until it ends, or until `until` at the latest.
    pub fn begin(&mut self, ticket: Ticket, until: f64) {
        self.running.push((ticket, until));
    }

    /// Ends the call, if it runs.
    pub fn end(&mut self, ticket: Ticket, now: f64) {
        let at = self.running.iter().position(|(running, _)| *running == ticket);
        if let Some(at) = at {
            // The time never goes back, so the ends stay in order.
            self.running.swap_remove(at);
            self.ended.push_back(now);
        }
    }

    /// Removes the call as if it had never started.
    pub fn undo(&mut self, ticket: Ticket) {
        self.running.retain(|(running, _)| *running != ticket);
    }

    /// Blocks the window until `until`. Never shortens an earlier block.
    pub fn block_window(&mut self, until: f64) {
        self.blocked_until = self.blocked_until.max(until);
    }

    pub fn blocked_until(&self) -> f64 {
        self.blocked_until
    }

    /// Returns how many calls run, and how many have ended and still count.
    pub fn counts(&self) -> (usize, usize) {
        (self.running.len(), self.ended.len())
    }

    /// Returns the usage, with `waiting` callers in the queue.
    pub fn window_usage(&mut self, rates: &[Rate], now: f64, waiting: usize) -> WindowUsage {
        self.drop_expired(rates, now);
        let free = rates.iter().map(|rate| {
            let left = (rate.count as usize).saturating_sub(self.counted(rate, now));
            left as f64 / f64::from(rate.count)
        });
        WindowUsage {
            free_share: free.fold(1.0, f64::min),
            wait: self.earliest(rates, now, waiting) - now,
        }
    }

    fn expired_count(&self, rate: &Rate, now: f64) -> usize {
        self.ended.partition_point(|end| end + rate.per + WINDOW_MARGIN <= now)
    }

    fn counted(&self, rate: &Rate, now: f64) -> usize {
        self.running.len() + self.ended.len() - self.expired_count(rate, now)
    }

    fn drop_expired(&mut self, rates: &[Rate], now: f64) {
        let longest = rates.iter().map(|rate| rate.per).fold(0.0, f64::max);
        while self.ended.front().is_some_and(|end| end + longest + WINDOW_MARGIN <= now) {
            self.ended.pop_front();
        }
        // A call whose lease is over may have been counted at any time up to then, so it ends
        // there.
        if self.running.iter().any(|(_, until)| *until <= now) {
            let overdue =
                self.running.iter().filter(|(_, until)| *until <= now).map(|(_, until)| *until);
            self.ended.extend(overdue);
            self.ended.make_contiguous().sort_by(f64::total_cmp);
            self.running.retain(|(_, until)| *until > now);
        }
    }
}
