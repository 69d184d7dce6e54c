//! One time for all that share a store: it never goes back, and goes on where a clock was set back.

/// A clock's readings made steady. `era` names the clock: another one starts where the last left off.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steady {
    pub era: String,
    pub offset: f64,
    pub last: f64,
}

/// One reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// A boot of this machine, or what else the clock is good for.
    pub era: String,
    pub raw: f64,
    pub wall: f64,
}

impl Steady {
    /// The time now. A clock that was set back stands still for a moment instead, and then runs on.
    pub fn advance(&mut self, reading: &Reading) -> f64 {
        if self.era != reading.era {
            self.era.clone_from(&reading.era);
            self.offset = reading.wall.max(self.last) - reading.raw;
        }
        let now = reading.raw + self.offset;
        if now < self.last {
            self.offset += self.last - now;
        }
        self.last = self.last.max(now);
        self.last
    }

    /// The same for a clock that has but one era.
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
        let mut steady = Steady::default();
        assert_eq!(steady.advance_to(1000.0), 1000.0);
        assert_eq!(steady.advance_to(400.0), 1000.0);
        assert_eq!(steady.advance_to(410.0), 1010.0);
    }

    #[test]
    fn a_boot_starts_where_the_last_one_left_off() {
        let reading = |era: &str, raw, wall| Reading { era: era.into(), raw, wall };
        let mut steady = Steady::default();
        assert_eq!(steady.advance(&reading("a", 5.0, 1000.0)), 1000.0);
        assert_eq!(steady.advance(&reading("a", 8.0, 5000.0)), 1003.0, "a step of the wall clock is not seen");
        assert_eq!(steady.advance(&reading("b", 1.0, 900.0)), 1003.0, "nor a wall clock that was lost with the power");
        assert_eq!(steady.advance(&reading("b", 2.0, 2000.0)), 1004.0);
    }
}
