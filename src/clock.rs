//! The only clock that the core reads.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Wall-clock time that never goes back within a process. It follows tokio's clock, so a test can
/// pause it.
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

    /// Returns the seconds since the Unix epoch.
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

/// Converts seconds to a duration from 0 to 100 years. NaN becomes 0.
pub fn seconds_to_duration(seconds: f64) -> Duration {
    // A longer sleep would overflow tokio's clock.
    const CENTURY: f64 = 3.2e9;
    Duration::try_from_secs_f64(seconds.clamp(0.0, CENTURY)).unwrap_or_default()
}
