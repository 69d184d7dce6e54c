//! The strict sliding window in memory: a call counts from its start until one length after its end.

use std::collections::VecDeque;

use super::queue_scan::WINDOW_MARGIN;
use super::store::{Ticket, WindowUsage};
use crate::config::Rate;

/// Several rates over one endpoint's calls.
#[derive(Default)]
pub struct WindowCalls {
    /// With the time by which each has ended, whether that was told or not.
    running: Vec<(Ticket, f64)>,
    /// Ends, in order, back to the longest rate's length.
    ended: VecDeque<f64>,
    blocked_until: f64,
}

impl WindowCalls {
    /// WindowCalls that may start now.
    pub fn room(&mut self, rates: &[Rate], now: f64) -> usize {
        self.drop_expired(rates, now);
        if self.blocked_until > now {
            return 0;
        }
        let room =
            rates.iter().map(|rate| (rate.count as usize).saturating_sub(self.counted(rate, now)));
        room.min().unwrap_or(usize::MAX)
    }

    /// When there can be room at the earliest for who has `ahead` others before it.
    pub fn earliest(&self, rates: &[Rate], now: f64, ahead: usize) -> f64 {
        let mut at = self.blocked_until.max(now);
        for rate in rates {
            let gone = self.expired_count(rate, now);
            let counted = self.running.len() + self.ended.len() - gone;
            let Some(index) = (counted + ahead).checked_sub(rate.count as usize) else { continue };
            let end = self.ended.get(gone + index).copied().unwrap_or(now);
            at = at.max(end + rate.per + WINDOW_MARGIN);
        }
        at
    }

    pub fn begin(&mut self, ticket: Ticket, until: f64) {
        self.running.push((ticket, until));
    }

    /// Tells whether it was under way.
    pub fn end(&mut self, ticket: Ticket, now: f64) -> bool {
        let at = self.running.iter().position(|(running, _)| *running == ticket);
        if let Some(at) = at {
            self.running.swap_remove(at);
            self.ended.push_back(now);
        }
        at.is_some()
    }

    /// It never was.
    pub fn undo(&mut self, ticket: Ticket) {
        self.running.retain(|(running, _)| *running != ticket);
    }

    /// The service said to wait.
    pub fn block_window(&mut self, until: f64) {
        self.blocked_until = self.blocked_until.max(until);
    }

    pub fn blocked_until(&self) -> f64 {
        self.blocked_until
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.running.len(), self.ended.len())
    }

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
        if self.running.iter().any(|(_, until)| *until <= now) {
            let over =
                self.running.iter().filter(|(_, until)| *until <= now).map(|(_, until)| *until);
            self.ended.extend(over);
            self.ended.make_contiguous().sort_by(f64::total_cmp);
            self.running.retain(|(_, until)| *until > now);
        }
    }
}
