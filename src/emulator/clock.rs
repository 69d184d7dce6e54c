//! The emulated time. It runs with tokio's clock, is scaled by a speed, and can jump ahead.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use time::OffsetDateTime;
use tokio::time::Instant;

/// A point in emulated time, or a duration: a count of 100 ns, the resolution of the API's times.
/// Points count from the Unix epoch.
pub(super) type Tick = i64;

pub(super) const SECOND: Tick = 10_000_000;

/// Longest duration that a caller may set, in seconds: about thirty years. Sums of such durations
/// do not overflow a [`Tick`].
pub(super) const MAX_SECONDS: f64 = 1e9;

/// How the emulator's clock runs. It follows tokio's clock, which a test may pause.
#[derive(Clone, Copy, Debug)]
pub struct EmulatorClock {
    /// Emulated seconds per second of wall time. The default is 1.
    pub speed: f64,
    /// Emulated time at the start, in seconds since the Unix epoch. The default is wall time.
    pub epoch: Option<f64>,
}

impl Default for EmulatorClock {
    fn default() -> Self {
        Self { speed: 1.0, epoch: None }
    }
}

impl EmulatorClock {
    /// Returns a clock that runs `speed` times as fast as wall time: with 60, an emulated minute
    /// takes a second.
    pub fn scaled(speed: f64) -> Self {
        Self { speed, ..Self::default() }
    }
}

/// A running clock, without the jumps: those are part of the state, behind the lock.
#[derive(Debug)]
pub(super) struct RunningClock {
    origin: Instant,
    wall_at_origin: f64,
    emulated_at_origin: Tick,
    speed: f64,
}

impl RunningClock {
    pub fn start(clock: EmulatorClock) -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let speed = if clock.speed.is_finite() && clock.speed > 0.0 { clock.speed } else { 1.0 };
        let emulated_at_origin = ticks(clock.epoch.unwrap_or(wall));
        Self { origin: Instant::now(), wall_at_origin: wall, emulated_at_origin, speed }
    }

    /// Returns the emulated time without the jumps.
    pub fn emulated_now(&self) -> Tick {
        self.emulated_at_origin + ticks(self.origin.elapsed().as_secs_f64() * self.speed)
    }

    /// Returns wall time in seconds since the Unix epoch.
    pub fn wall_now(&self) -> f64 {
        // Measured by tokio's clock too, so that wall time stands still in a paused test.
        self.wall_at_origin + self.origin.elapsed().as_secs_f64()
    }

    pub fn speed(&self) -> f64 {
        self.speed
    }
}

pub(super) fn ticks(seconds: f64) -> Tick {
    (seconds * SECOND as f64) as Tick
}

pub(super) fn seconds(ticks: Tick) -> f64 {
    ticks as f64 / SECOND as f64
}

/// Writes a time as the service does: up to seven decimals of a second, without trailing zeros
/// (docs/service.md, section 3.3).
pub(super) fn write_time(out: &mut Vec<u8>, tick: Tick) {
    // A page of actions has tens of thousands of times, and writing digits is faster than
    // formatting.
    let whole = tick.div_euclid(SECOND);
    let fraction = tick.rem_euclid(SECOND);
    let time = OffsetDateTime::from_unix_timestamp(whole).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    for (value, width, end) in [
        (year.unsigned_abs(), 4, b'-'),
        (u8::from(month).into(), 2, b'-'),
        (day.into(), 2, b'T'),
        (hour.into(), 2, b':'),
        (minute.into(), 2, b':'),
        (second.into(), 2, b'.'),
    ] {
        write_digits(out, value, width);
        out.push(end);
    }
    write_digits(out, u32::try_from(fraction).unwrap_or(0), 7);
    while out.last() == Some(&b'0') {
        out.pop();
    }
    if out.last() == Some(&b'.') {
        out.pop();
    }
    out.push(b'Z');
}

fn write_digits(out: &mut Vec<u8>, value: u32, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + u8::try_from(value / 10_u32.pow(place) % 10).unwrap_or(0));
    }
}

/// Returns a time as the service writes it.
pub(super) fn format_time(tick: Tick) -> String {
    let mut out = Vec::with_capacity(28);
    write_time(&mut out, tick);
    String::from_utf8(out).unwrap_or_default()
}

/// The header Date of the last answer. All answers within a second have the same.
#[derive(Debug, Default)]
pub(super) struct DateHeader {
    second: Tick,
    text: Option<HeaderValue>,
}

impl DateHeader {
    pub fn at(&mut self, tick: Tick) -> Option<HeaderValue> {
        let second = tick.div_euclid(SECOND);
        if self.text.is_none() || self.second != second {
            *self = Self { second, text: HeaderValue::from_str(&http_date(tick)).ok() };
        }
        self.text.clone()
    }
}

/// Returns a time as the header Date has it, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn http_date(tick: Tick) -> String {
    let time = OffsetDateTime::from_unix_timestamp(tick.div_euclid(SECOND))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (weekday, month) = (time.weekday().to_string(), time.month().to_string());
    let (hour, minute, second) = time.to_hms();
    format!(
        "{weekday:.3}, {:02} {month:.3} {:04} {hour:02}:{minute:02}:{second:02} GMT",
        time.day(),
        time.year(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;
    use proptest::prelude::*;

    #[test]
    fn trailing_zeros_are_left_out() {
        assert_eq!(format_time(ticks(1_644_244_387.0)), "2022-02-07T14:33:07Z");
        assert_eq!(format_time(16_124_530_127_788_848), "2021-02-04T15:36:52.7788848Z");
        assert_eq!(format_time(15_463_008_592_000_000), "2019-01-01T00:00:59.2Z");
    }

    #[test]
    fn a_date_header_is_in_the_format_of_http() {
        assert_eq!(http_date(ticks(784_111_777.9)), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    proptest! {
        #[test]
        fn a_written_time_reads_back(tick in 0_i64..40_000_000_000_000_000) {
            let read = Timestamp::parse(&format_time(tick)).unwrap().datetime();
            prop_assert_eq!(read.unix_timestamp_nanos() / 100, i128::from(tick));
        }
    }
}
