//! How long the client pauses before it polls again or retries, one named constant for each case.

use crate::config::{Limits, SETTLE_TIME};

/// The shortest pause, in seconds. With `settle_time=0` a loop must not call the service without a
/// break.
const FLOOR: f64 = 0.25;

/// A pause that scales with `Limits.settle_time`, so that it shrinks with the clock of an emulator
/// that runs faster than real time.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// Seconds at the default settle time.
    seconds: f64,
    floor: f64,
}

impl Pause {
    const fn of(seconds: f64) -> Self {
        Self { seconds, floor: FLOOR }
    }

    /// Returns the pause in seconds, never below the floor.
    pub fn seconds(self, limits: &Limits) -> f64 {
        (self.seconds * limits.settle_time / SETTLE_TIME).max(self.floor)
    }
}

/// Between two polls of a busy machine or a full tenant; each further poll waits longer.
pub const BUSY_POLL: Pause = Pause::of(15.0);
/// How old the last read of the list may be when a POST is sent. A process that waits for a
/// processor must not read it again.
pub const MAX_LOOK_AGE: Pause = Pause { seconds: 10.0, floor: 1.0 };
/// Between two cancels of an action that the service does not list yet.
pub const CANCEL_UNLISTED: Pause = Pause::of(5.0);
/// Before another try to cancel a session that stayed Pending for too long.
pub const CANCEL_PENDING: Pause = Pause::of(15.0);
/// Before another try to cancel the session of a row that is being parked.
pub const CANCEL_PARKED: Pause = Pause::of(15.0);
/// Before a row follows its session again, after polling failed.
pub const FOLLOW_SESSION: Pause = Pause::of(30.0);
/// Before the first retry of a result; it doubles up to `FETCH_RESULT_MAX`.
pub const FETCH_RESULT: Pause = Pause::of(30.0);
/// The longest pause between two tries to fetch a result.
pub const FETCH_RESULT_MAX: Pause = Pause::of(120.0);
/// Before a failed row is tried again; it doubles with each failure.
pub const RETRY_ROW: Pause = Pause::of(15.0);
/// Before something that exists is read again after a 404, which may pass.
pub const REREAD_NOT_FOUND: [Pause; 2] = [Pause::of(1.0), Pause::of(3.0)];
/// Before the list of machines is read again, after it failed.
pub const LIST_MACHINES: Pause = Pause::of(15.0);
/// The longest pause between two tries of a run that cannot continue.
pub const OUTAGE_MAX: Pause = Pause::of(60.0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_scales_with_the_settle_time_down_to_the_floor() {
        let limits = |settle_time| Limits { settle_time, ..Limits::default() };
        assert_eq!(BUSY_POLL.seconds(&limits(120.0)), 15.0);
        assert_eq!(BUSY_POLL.seconds(&limits(12.0)), 1.5);
        assert_eq!(BUSY_POLL.seconds(&limits(0.0)), FLOOR);
    }
}
