//! The clock of this machine, the same for all its processes: one that nobody sets, where there is one.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::state::monotonic::ClockReading;

pub fn read(clock_id: &str) -> ClockReading {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    match since_boot() {
        Some(raw) if !clock_id.is_empty() => {
            ClockReading { clock_id: clock_id.to_owned(), raw, wall }
        }
        _ => ClockReading { clock_id: "wall".to_owned(), raw: wall, wall },
    }
}

/// Names this boot, so that a reading of another is not compared with one of this.
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
