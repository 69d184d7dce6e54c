//! The strict sliding window: a call counts from its start until one length after its end.

use std::collections::VecDeque;

use crate::config::Rate;

/// Several rates over one endpoint's calls.
///
/// The service stamps a call somewhere between its start and its end, so counting both in keeps every window of the
/// service's own, wherever it is laid and however late a call arrives.
#[derive(Clone, Debug)]
pub struct Window {
    rates: Vec<Rate>,
    running: usize,
    /// Ends of calls, in order, back to the longest rate's length.
    ended: VecDeque<f64>,
    held_until: f64,
}

/// When the next call may start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Room {
    Now,
    At(f64),
    /// Calls under way fill a window: nothing can be said before one ends.
    AfterACall,
}

impl Window {
    pub fn new(rates: &[Rate]) -> Self {
        Self { rates: rates.to_vec(), running: 0, ended: VecDeque::new(), held_until: f64::MIN }
    }

    pub fn room(&mut self, now: f64) -> Room {
        self.forget(now);
        let mut at = self.held_until;
        for rate in &self.rates {
            let gone = self.ended.partition_point(|end| end + rate.per <= now);
            let counted = self.running + self.ended.len() - gone;
            let Some(excess) = counted.checked_sub(rate.count as usize) else { continue };
            match self.ended.get(gone + excess) {
                Some(end) => at = at.max(end + rate.per),
                None => return Room::AfterACall,
            }
        }
        if at <= now { Room::Now } else { Room::At(at) }
    }

    pub fn begin(&mut self) {
        self.running += 1;
    }

    /// `now` never goes back between calls.
    pub fn end(&mut self, now: f64) {
        self.running = self.running.saturating_sub(1);
        self.ended.push_back(now);
    }

    /// The service said to wait.
    pub fn hold(&mut self, until: f64) {
        self.held_until = self.held_until.max(until);
    }

    /// The part of the fullest rate that is free, from 0 to 1.
    pub fn share_left(&mut self, now: f64) -> f64 {
        self.forget(now);
        let free = self.rates.iter().map(|rate| {
            let gone = self.ended.partition_point(|end| end + rate.per <= now);
            let left = (rate.count as usize).saturating_sub(self.running + self.ended.len() - gone);
            left as f64 / f64::from(rate.count)
        });
        free.fold(1.0, f64::min)
    }

    fn forget(&mut self, now: f64) {
        let longest = self.rates.iter().map(|rate| rate.per).fold(0.0, f64::max);
        while self.ended.front().is_some_and(|end| end + longest <= now) {
            self.ended.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rates() -> Vec<Rate> {
        vec![Rate::new(3, 10.0).unwrap(), Rate::new(7, 60.0).unwrap()]
    }

    #[test]
    fn an_eleventh_call_waits_for_the_first_to_be_one_length_past_its_end() {
        let mut window = Window::new(&[Rate::new(10, 60.0).unwrap()]);
        for i in 0..10 {
            assert_eq!(window.room(f64::from(i)), Room::Now);
            window.begin();
            window.end(f64::from(i) + 0.5);
        }
        assert_eq!(window.room(10.0), Room::At(60.5));
        assert_eq!(window.room(60.5), Room::Now);
    }

    #[test]
    fn calls_under_way_count() {
        let mut window = Window::new(&[Rate::new(2, 1.0).unwrap()]);
        window.begin();
        window.begin();
        assert_eq!(window.room(1000.0), Room::AfterACall);
        window.end(1000.0);
        assert_eq!(window.room(1000.5), Room::At(1001.0));
    }

    proptest! {
        /// An oracle that the service might be: it stamps each call anywhere between its start and its end.
        #[test]
        fn no_window_is_ever_broken(steps in proptest::collection::vec((0.0..8.0f64, 0.0..3.0f64, 0.0..=1.0f64), 1..200)) {
            let mut window = Window::new(&rates());
            let mut now = 0.0;
            let mut running: Vec<f64> = Vec::new();
            let mut stamps: Vec<f64> = Vec::new();
            for (pause, length, at) in steps {
                now += pause;
                running.sort_by(f64::total_cmp);
                while running.first().is_some_and(|end| *end <= now) {
                    window.end(running.remove(0));
                }
                if window.room(now) == Room::Now {
                    window.begin();
                    running.push(now + length);
                    stamps.push(now + length * at);
                }
            }
            stamps.sort_by(f64::total_cmp);
            for rate in rates() {
                for (i, start) in stamps.iter().enumerate() {
                    let within = stamps[i..].iter().take_while(|stamp| **stamp < start + rate.per).count();
                    prop_assert!(within <= rate.count as usize, "{within} calls in {} s", rate.per);
                }
            }
        }
    }
}
