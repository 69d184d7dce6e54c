//! One time for all that share a store: it never goes back, and goes on where a clock was set back.

/// A clock's readings made clock. `clock_id` names the clock: another one starts where the last left off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MonotonicClock {
    pub clock_id: String,
    pub offset: f64,
    pub last: f64,
}

/// One reading.
#[derive(Clone, Debug, PartialEq)]
pub struct ClockReading {
    /// A boot of this machine, or what else the clock is good for.
    pub clock_id: String,
    pub raw: f64,
    pub wall: f64,
}

impl MonotonicClock {
    /// The time now. A clock that was set back stands still for a moment instead, and then runs on.
    pub fn advance(&mut self, reading: &ClockReading) -> f64 {
        if self.clock_id != reading.clock_id {
            self.clock_id.clone_from(&reading.clock_id);
            self.offset = reading.wall.max(self.last) - reading.raw;
        }
        let now = reading.raw + self.offset;
        if now < self.last {
            self.offset += self.last - now;
        }
        self.last = self.last.max(now);
        self.last
    }

    /// The same for a clock that has but one clock_id.
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
    fn a_boot_starts_where_the_last_one_left_off() {
        let reading =
            |clock_id: &str, raw, wall| ClockReading { clock_id: clock_id.into(), raw, wall };
        let mut clock = MonotonicClock::default();
        assert_eq!(clock.advance(&reading("a", 5.0, 1000.0)), 1000.0);
        assert_eq!(
            clock.advance(&reading("a", 8.0, 5000.0)),
            1003.0,
            "a step of the wall clock is not seen"
        );
        assert_eq!(
            clock.advance(&reading("b", 1.0, 900.0)),
            1003.0,
            "nor a wall clock that was lost with the power"
        );
        assert_eq!(clock.advance(&reading("b", 2.0, 2000.0)), 1004.0);
    }
}
