//! Counts the calls that a power cut may have undone as if they had been made.

use rusqlite::params;

use super::Sql;
use super::connection::{Durability, StoreConnection};
use crate::config::Rate;
use crate::operation::Operation;

impl StoreConnection {
    /// Adds the calls that may have been lost, if this is the first open since the machine booted.
    pub fn count_calls_lost_in_power_cut(&self, quota: i64, now: f64) -> Sql<()> {
        let boot: String =
            self.connection
                .query_row("SELECT boot FROM quotas WHERE id = ?", [quota], |row| row.get(0))?;
        if boot == self.clock_id {
            return Ok(());
        }
        self.execute("UPDATE quotas SET boot = ? WHERE id = ?", params![self.clock_id, quota])?;
        // A key that is new here has made no calls before.
        if boot.is_empty() || self.clock_id.is_empty() {
            return Ok(());
        }
        for window in Operation::ALL {
            for number in 0..max_lost_calls(self.settings.rates(window)) {
                let ticket = format!("lost with {boot}, {number}");
                let lost = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)";
                self.execute(lost, params![quota, window.name(), ticket, now])?;
            }
        }
        Ok(())
    }
}

/// Returns how many calls can have started since the last synced write.
fn max_lost_calls(rates: &[Rate]) -> u64 {
    let windows = |rate: &Rate| (Durability::MAX_LOSS / rate.per).floor() as u64 + 1;
    rates.iter().map(|rate| u64::from(rate.count) * windows(rate)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_rate_bounds_the_lost_calls() {
        let rate = |count, per| Rate { count, per };
        assert_eq!(max_lost_calls(&[rate(100, 60.0), rate(1500, 3600.0)]), 100);
        assert_eq!(max_lost_calls(&[rate(30, 0.4), rate(1000, 60.0)]), 90);
        assert_eq!(max_lost_calls(&[]), 0);
    }
}
