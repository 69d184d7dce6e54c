//! The clock of this machine, the same for all its processes.
//!
//! On Linux it counts from boot, so nobody can set it. Elsewhere it is the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::state::monotonic::ClockReading;

/// Reads the clock. `clock_id` is the [`boot_id`] that the caller knows.
pub fn read(clock_id: &str) -> ClockReading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    match since_boot() {
        Some(raw) if !clock_id.is_empty() => {
            ClockReading { clock_id: clock_id.to_owned(), raw, wall }
        }
        _ => ClockReading { clock_id: "wall".to_owned(), raw: wall, wall },
    }
}

/// Returns the id of this boot, so that readings of two boots are never compared. Empty if unknown.
#[cfg(target_os = "linux")]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
pub fn boot_id() -> String {
    String::new()
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<f64> {
    None
}
