//! What a power cut can have taken back, counted as if it had been there.

use rusqlite::params;

use super::connection::{Durability, StoreConnection};
use crate::config::Rate;
use crate::operation::Operation;

type Sql<T> = rusqlite::Result<T>;

impl StoreConnection {
    pub fn quota_id(&self) -> Sql<i64> {
        let key = &self.settings.key;
        let parts = [&key.host, &key.tenant, &key.application];
        self.connection
            .execute("INSERT INTO quotas (host, tenant, application) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", parts)?;
        let find = "SELECT id FROM quotas WHERE host = ? AND tenant = ? AND application = ?";
        self.connection.query_row(find, parts, |row| row.get(0))
    }

    /// The first to open the store after a boot counts the calls that may have been lost with the last one.
    pub fn count_calls_lost_in_power_cut(&self, quota: i64, now: f64) -> Sql<()> {
        let boot: String =
            self.connection
                .query_row("SELECT boot FROM quotas WHERE id = ?", [quota], |row| row.get(0))?;
        if boot == self.clock_id {
            return Ok(());
        }
        self.execute("UPDATE quotas SET boot = ? WHERE id = ?", params![self.clock_id, quota])?;
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

/// Calls that can have begun since the last careful write.
fn max_lost_calls(rates: &[Rate]) -> u64 {
    let windows = |rate: &Rate| (Durability::MAX_LOSS / rate.per).floor() as u64 + 1;
    rates.iter().map(|rate| u64::from(rate.count) * windows(rate)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_can_be_lost_than_the_strictest_rate_lets_through() {
        let rate = |count, per| Rate { count, per };
        assert_eq!(max_lost_calls(&[rate(100, 60.0), rate(1500, 3600.0)]), 100);
        assert_eq!(max_lost_calls(&[rate(30, 0.4), rate(1000, 60.0)]), 90);
        assert_eq!(max_lost_calls(&[]), 0);
    }
}
