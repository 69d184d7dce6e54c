//! A time that never goes back, shared by all processes of a store.

/// Makes a time that never goes back from the readings of a clock.
///
/// `clock_id` names the clock. A reading of another clock continues from the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MonotonicClock {
    pub clock_id: String,
    pub offset: f64,
    pub last: f64,
}

/// One reading of a clock.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockReading {
    /// The boot of the machine for a clock that starts with it, else the kind of clock.
    pub clock_id: String,
    pub raw: f64,
    pub wall: f64,
}

impl MonotonicClock {
    /// Returns the time. If the clock was set back, the time stays the same once, then continues.
    pub fn advance(&mut self, reading: &ClockReading) -> f64 {
        if self.clock_id != reading.clock_id {
            self.clock_id.clone_from(&reading.clock_id);
            // The wall clock may be behind after a power cut, so the last time is the minimum.
            self.offset = reading.wall.max(self.last) - reading.raw;
        }
        let now = reading.raw + self.offset;
        if now < self.last {
            self.offset += self.last - now;
        }
        self.last = self.last.max(now);
        self.last
    }

    /// Returns the time for a reading of a clock that never changes.
    pub fn advance_to(&mut self, raw: f64) -> f64 {
        let now = raw + self.offset;
        if now < self.last {
            self.offset += self.last - now;
        }
        self.last = self.last.max(now);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_does_not_stop_time() {
        let mut clock = MonotonicClock::default();
        assert_eq!(clock.advance_to(1000.0), 1000.0);
        assert_eq!(clock.advance_to(400.0), 1000.0);
        assert_eq!(clock.advance_to(410.0), 1010.0);
    }

    #[test]
    fn time_continues_after_a_reboot() {
        let reading =
            |clock_id: &str, raw, wall| ClockReading { clock_id: clock_id.into(), raw, wall };
        let mut clock = MonotonicClock::default();
        assert_eq!(clock.advance(&reading("a", 5.0, 1000.0)), 1000.0);
        assert_eq!(
            clock.advance(&reading("a", 8.0, 5000.0)),
            1003.0,
            "a step of the wall clock has no effect"
        );
        assert_eq!(
            clock.advance(&reading("b", 1.0, 900.0)),
            1003.0,
            "nor has a wall clock that was reset by a power cut"
        );
        assert_eq!(clock.advance(&reading("b", 2.0, 2000.0)), 1004.0);
    }
}
