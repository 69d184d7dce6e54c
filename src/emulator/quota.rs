//! What the service counts: calls in windows, by application and call.

use std::collections::{HashMap, VecDeque};

use super::clock::{SECOND, Tick, ticks};
use super::control::switches::WindowKind;
use super::wire::routes::Route;
use crate::config::Rate;

/// The calls that were let through, newest last, by application and route.
#[derive(Debug, Default)]
pub(super) struct Quotas(HashMap<(u32, Route), VecDeque<Tick>>);

/// A window that has no room.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExceededRate {
    pub rate: Rate,
    /// Until it has room.
    pub wait: Tick,
}

impl Quotas {
    /// The window of `rates` that stays full the longest.
    pub fn find_exceeded(
        &self,
        key: (u32, Route),
        rates: &[Rate],
        windows: WindowKind,
        now: Tick,
    ) -> Option<ExceededRate> {
        let calls = self.0.get(&key)?;
        let waits = rates.iter().filter_map(|rate| {
            let nth_last = calls.len().checked_sub(rate.count as usize)?;
            let length = ticks(rate.per).max(1);
            let counted = *calls.get(nth_last)?;
            let frees_at = match windows {
                WindowKind::Sliding => counted + length,
                WindowKind::Fixed => (counted.div_euclid(length) + 1) * length,
            };
            (frees_at > now).then_some(ExceededRate { rate: *rate, wait: frees_at - now })
        });
        waits.max_by_key(|exceeded| exceeded.wait)
    }

    pub fn record(&mut self, key: (u32, Route), rates: &[Rate], now: Tick) {
        let Some(kept) = rates.iter().map(|rate| rate.count as usize).max() else { return };
        let calls = self.0.entry(key).or_default();
        calls.push_back(now);
        while calls.len() > kept {
            calls.pop_front();
        }
    }
}

/// A stretch as the service's text has it: `00:01:00`.
pub(super) fn format_timespan(seconds: f64) -> String {
    let whole = ticks(seconds) / SECOND;
    format!("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: (u32, Route) = (0, Route::RunLiveResponse);

    proptest! {
        /// Wherever a window is laid, no more than the count are let through.
        #[test]
        fn a_sliding_window_is_strict(gaps in proptest::collection::vec(0_i64..20 * SECOND, 1..200)) {
            let rates = [Rate { count: 10, per: 60.0 }, Rate { count: 25, per: 300.0 }];
            let (mut quotas, mut now, mut through) = (Quotas::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                if quotas.find_exceeded(KEY, &rates, WindowKind::Sliding, now).is_none() {
                    quotas.record(KEY, &rates, now);
                    through.push(now);
                }
            }
            for rate in rates {
                for (i, first) in through.iter().enumerate() {
                    let within = through[i..].iter().take_while(|call| **call < first + ticks(rate.per)).count();
                    prop_assert!(within <= rate.count as usize);
                }
            }
        }

        /// The wait that is told is enough, and not a tick too long.
        #[test]
        fn the_wait_is_exact(gaps in proptest::collection::vec(0_i64..3 * SECOND, 10..40), fixed: bool) {
            let windows = if fixed { WindowKind::Fixed } else { WindowKind::Sliding };
            let rates = [Rate { count: 10, per: 60.0 }];
            let (mut quotas, mut now) = (Quotas::default(), 0);
            for gap in gaps {
                now += gap;
                if let Some(exceeded) = quotas.find_exceeded(KEY, &rates, windows, now) {
                    prop_assert!(quotas.find_exceeded(KEY, &rates, windows, now + exceeded.wait - 1).is_some());
                    prop_assert!(quotas.find_exceeded(KEY, &rates, windows, now + exceeded.wait).is_none());
                } else {
                    quotas.record(KEY, &rates, now);
                }
            }
        }
    }

    #[test]
    fn a_fixed_window_lets_twice_the_count_through_around_its_edge() {
        let (rates, mut quotas) = ([Rate { count: 10, per: 60.0 }], Quotas::default());
        for _ in 0..10 {
            quotas.record(KEY, &rates, 59 * SECOND);
        }
        assert!(quotas.find_exceeded(KEY, &rates, WindowKind::Fixed, 60 * SECOND).is_none());
        assert!(quotas.find_exceeded(KEY, &rates, WindowKind::Sliding, 60 * SECOND).is_some());
    }

    #[test]
    fn a_span_reads_as_captured() {
        assert_eq!(format_timespan(60.0), "00:01:00");
        assert_eq!(format_timespan(3600.0), "01:00:00");
    }
}
