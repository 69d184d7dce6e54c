//! Rate limits: counts the calls of each application and route in windows.

use std::collections::VecDeque;

use foldhash::HashMap;

use bytes::Bytes;
use http::StatusCode;

use super::clock::{SECOND, Tick, ticks};
use super::control::switches::{ThrottleResponse, WindowKind};
use super::wire::reply::ApiError;
use super::wire::routes::Route;
use crate::config::Rate;

/// The times of the accepted calls, newest last, by application and route.
#[derive(Debug, Default)]
pub(super) struct Quotas(HashMap<(u32, Route), VecDeque<Tick>>);

/// A rate whose window is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExceededRate {
    pub rate: Rate,
    /// Time until the window has room for a call.
    pub wait: Tick,
}

impl Quotas {
    /// Returns the rate whose window stays full the longest, or `None` if a call fits.
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

    /// Counts a call.
    pub fn record(&mut self, key: (u32, Route), rates: &[Rate], now: Tick) {
        // A rate needs only its last `count` calls.
        let Some(kept) = rates.iter().map(|rate| rate.count as usize).max() else { return };
        let calls = self.0.entry(key).or_default();
        calls.push_back(now);
        while calls.len() > kept {
            calls.pop_front();
        }
    }
}

/// Returns the service's captured text for a full window (docs/service.md, section 10.3).
pub(super) fn quota_message(count: u32, per: f64, wait: u64) -> String {
    format!(
        "API calls quota exceeded! Maximum allowed {count} per {} for the key \
         Destination+TenantID+AppID. You can send requests again in {wait} seconds.",
        format_timespan(per),
    )
}

/// Returns a 429 in the form that a switch asks for.
pub(super) fn throttle_error(response: ThrottleResponse, message: String) -> ApiError {
    let code = if response == ThrottleResponse::Full { "429" } else { "TooManyRequests" };
    let mut error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, message);
    match response {
        ThrottleResponse::Full => {}
        // The plain form gives no hint how long to wait.
        ThrottleResponse::Plain if error.message.contains("quota exceeded") => {
            "Too many requests.".clone_into(&mut error.message);
        }
        ThrottleResponse::Plain => {}
        ThrottleResponse::Empty => error.raw = Some(("", Bytes::new())),
        ThrottleResponse::Html => {
            let page = "<html><head><title>429 Too Many Requests</title></head></html>";
            error.raw = Some(("text/html", Bytes::from_static(page.as_bytes())));
        }
    }
    error
}

/// Formats a time span as the service does: `00:01:00`.
fn format_timespan(seconds: f64) -> String {
    let whole = ticks(seconds) / SECOND;
    format!("{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const KEY: (u32, Route) = (0, Route::RunLiveResponse);

    proptest! {
        /// Every window has at most `count` accepted calls.
        #[test]
        fn a_sliding_window_is_strict(gaps in vec(0_i64..20 * SECOND, 1..200)) {
            let rates = [Rate { count: 10, per: 60.0 }, Rate { count: 25, per: 300.0 }];
            let (mut quotas, mut now, mut accepted) = (Quotas::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                if quotas.find_exceeded(KEY, &rates, WindowKind::Sliding, now).is_none() {
                    quotas.record(KEY, &rates, now);
                    accepted.push(now);
                }
            }
            for rate in rates {
                for (i, first) in accepted.iter().enumerate() {
                    let end = first + ticks(rate.per);
                    let within = accepted[i..].iter().take_while(|call| **call < end).count();
                    prop_assert!(within <= rate.count as usize);
                }
            }
        }

        /// A call after exactly `wait` is accepted, and one a tick earlier is not.
        #[test]
        fn the_wait_is_exact(gaps in vec(0_i64..3 * SECOND, 10..40), fixed: bool) {
            let windows = if fixed { WindowKind::Fixed } else { WindowKind::Sliding };
            let rates = [Rate { count: 10, per: 60.0 }];
            let (mut quotas, mut now) = (Quotas::default(), 0);
            for gap in gaps {
                now += gap;
                if let Some(exceeded) = quotas.find_exceeded(KEY, &rates, windows, now) {
                    let is_full = |at| quotas.find_exceeded(KEY, &rates, windows, at).is_some();
                    prop_assert!(is_full(now + exceeded.wait - 1));
                    prop_assert!(!is_full(now + exceeded.wait));
                } else {
                    quotas.record(KEY, &rates, now);
                }
            }
        }
    }

    #[test]
    fn a_fixed_window_allows_twice_the_count_around_its_edge() {
        let (rates, mut quotas) = ([Rate { count: 10, per: 60.0 }], Quotas::default());
        for _ in 0..10 {
            quotas.record(KEY, &rates, 59 * SECOND);
        }
        assert!(quotas.find_exceeded(KEY, &rates, WindowKind::Fixed, 60 * SECOND).is_none());
        assert!(quotas.find_exceeded(KEY, &rates, WindowKind::Sliding, 60 * SECOND).is_some());
    }

    #[test]
    fn time_spans_look_as_captured() {
        assert_eq!(format_timespan(60.0), "00:01:00");
        assert_eq!(format_timespan(3600.0), "01:00:00");
    }
}
