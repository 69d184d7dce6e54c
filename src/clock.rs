//! The one clock that the core reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Wall time that never steps back within a process and follows tokio's clock, so that a test may pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    wall_at_origin: f64,
}

impl Clock {
    pub fn new() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), wall_at_origin: wall.as_secs_f64() }
    }

    /// Seconds since the Unix epoch.
    pub fn now(&self) -> f64 {
        self.wall_at_origin + self.origin.elapsed().as_secs_f64()
    }

    pub async fn sleep(&self, seconds: f64) {
        tokio::time::sleep(seconds_to_duration(seconds)).await;
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// A duration of `seconds`; what is negative or not a number is none, what is beyond a century is a century.
pub fn seconds_to_duration(seconds: f64) -> Duration {
    const CENTURY: f64 = 3.2e9;
    Duration::try_from_secs_f64(seconds.clamp(0.0, CENTURY)).unwrap_or_default()
}
