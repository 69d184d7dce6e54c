//! The service's own clock, as its `Date` headers show it.

use std::sync::{Mutex, PoisonError};

use http::HeaderMap;
use http::header::DATE;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// Seconds by which the local clock may be ahead where no response had a `Date`.
const MAX_LOCAL_ERROR: f64 = 300.0;
/// Seconds for which a response shows the service's clock: clocks drift, and may be set.
const MAX_AGE: f64 = 600.0;

/// Estimates the service's time from below: a `Date` has whole seconds, and takes time to arrive.
#[derive(Debug, Default)]
pub struct ServiceClock {
    latest: Mutex<Option<Sample>>,
}

/// A response: when it arrived by the local clock, and the least that the service's clock showed.
#[derive(Clone, Copy, Debug)]
struct Sample {
    local: f64,
    service: f64,
}

impl ServiceClock {
    /// Records the headers of a response that arrived at `now`, by the local clock.
    pub fn record(&self, headers: &HeaderMap, now: f64) {
        let Some(date) = date_of(headers) else { return };
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let carried = latest
            .filter(|before| now - before.local < MAX_AGE)
            .map_or(date, |before| before.service + (now - before.local).max(0.0));
        // Both estimates are too early, so the later one is better. But a `Date` is at most a second
        // behind: an estimate beyond that comes from a clock that was set back.
        let service = if carried <= date + 1.0 { date.max(carried) } else { date };
        *latest = Some(Sample { local: now, service });
    }

    /// Returns the earliest time that the service's clock can show at `local`.
    ///
    /// `rate`: how much faster the service's clock may run than ours, as an emulator's does.
    pub fn earliest_at(&self, local: f64, rate: f64) -> f64 {
        let latest = *self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match latest {
            Some(sample) if local >= sample.local => sample.service + (local - sample.local),
            Some(sample) => sample.service - (sample.local - local) * rate,
            None => local - MAX_LOCAL_ERROR,
        }
    }
}

fn date_of(headers: &HeaderMap) -> Option<f64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(OffsetDateTime::parse(text, &Rfc2822).ok()?.unix_timestamp() as f64)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2026-11-23T10:00:00Z.
    const DATE_AT: f64 = 1_795_428_000.0;

    fn headers(date: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(DATE, HeaderValue::from_static(date))])
    }

    #[test]
    fn the_estimate_is_never_late_and_gets_better() {
        let clock = ServiceClock::default();
        assert_eq!(clock.earliest_at(1000.0, 1.0), 700.0);
        // The service's clock shows 0.9 s more than its Date.
        clock.record(&headers("Mon, 23 Nov 2026 10:00:00 GMT"), 1000.0);
        assert_eq!(clock.earliest_at(1001.0, 1.0), DATE_AT + 1.0);
        assert_eq!(clock.earliest_at(999.0, 60.0), DATE_AT - 60.0);
        clock.record(&headers("Mon, 23 Nov 2026 10:00:01 GMT"), 1000.2);
        assert_eq!(clock.earliest_at(1000.2, 1.0), DATE_AT + 1.0);
        clock.record(&headers("Mon, 23 Nov 2026 10:00:01 GMT"), 1000.9);
        assert!((clock.earliest_at(1000.9, 1.0) - (DATE_AT + 1.7)).abs() < 1e-6);
    }

    #[test]
    fn a_clock_that_is_set_back_is_followed_and_odd_dates_are_ignored() {
        let clock = ServiceClock::default();
        clock.record(&headers("Mon, 23 Nov 2026 10:00:00 GMT"), 1000.0);
        clock.record(&headers("Mon, 23 Nov 2026 09:00:00 GMT"), 1001.0);
        assert_eq!(clock.earliest_at(1001.0, 1.0), DATE_AT - 3600.0);
        clock.record(&headers("yesterday"), 1002.0);
        assert_eq!(clock.earliest_at(1002.0, 1.0), DATE_AT - 3599.0);
    }
}
