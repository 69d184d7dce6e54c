//! The sliding windows, in SQL: a call counts from its start until one window length after its end.

use rusqlite::{OptionalExtension, params};

use super::Sql;
use super::connection::StoreConnection;
use crate::operation::Operation;
use crate::state::admission::{Ticket, WindowUsage};
use crate::state::queue_scan::WINDOW_MARGIN;

impl StoreConnection {
    /// Returns how many calls may start now.
    pub fn room(&self, window: Operation, now: f64) -> Sql<usize> {
        if self.blocked_until(window)? > now {
            return Ok(0);
        }
        let mut room = usize::MAX;
        for rate in self.settings.rates(window) {
            room = room.min(
                (rate.count as usize)
                    .saturating_sub(self.counted(window, now - rate.per - WINDOW_MARGIN)?),
            );
        }
        Ok(room)
    }

    /// Returns how many calls run, or ended after `since`. A running call ends in the future.
    fn counted(&self, window: Operation, since: f64) -> Sql<usize> {
        let count = "SELECT count(*) FROM calls WHERE quota = ? AND window = ? AND ends > ?";
        let mut statement = self.connection.prepare_cached(count)?;
        let counted: i64 =
            statement.query_row(params![self.quota, window.name(), since], |row| row.get(0))?;
        Ok(counted as usize)
    }

    /// Returns when the block of the window ends, or 0.
    pub fn blocked_until(&self, window: Operation) -> Sql<f64> {
        let find = "SELECT until FROM window_blocks WHERE quota = ? AND window = ?";
        let mut statement = self.connection.prepare_cached(find)?;
        Ok(statement
            .query_row(params![self.quota, window.name()], |row| row.get(0))
            .optional()?
            .unwrap_or(0.0))
    }

    /// Returns the earliest time at which a caller with `ahead` others before it may start.
    pub fn earliest(&self, window: Operation, now: f64, ahead: usize) -> Sql<f64> {
        let mut at = self.blocked_until(window)?.max(now);
        // A running call may end now at the earliest.
        let find = "SELECT min(ends, ?4) FROM calls WHERE quota = ?1 AND window = ?2 \
                    AND ends > ?3 ORDER BY ends LIMIT 1 OFFSET ?5";
        for rate in self.settings.rates(window) {
            let since = now - rate.per - WINDOW_MARGIN;
            let counted = self.counted(window, since)?;
            let Some(index) = (counted + ahead).checked_sub(rate.count as usize) else { continue };
            let mut statement = self.connection.prepare_cached(find)?;
            let found = params![self.quota, window.name(), since, now, index as i64];
            let end: Option<f64> = statement.query_row(found, |row| row.get(0)).optional()?;
            at = at.max(end.unwrap_or(now) + rate.per + WINDOW_MARGIN);
        }
        Ok(at)
    }

    /// Returns how full the window is.
    pub fn window_usage(&self, window: Operation, now: f64) -> Sql<WindowUsage> {
        let mut share: f64 = 1.0;
        for rate in self.settings.rates(window) {
            let left = (rate.count as usize)
                .saturating_sub(self.counted(window, now - rate.per - WINDOW_MARGIN)?);
            share = share.min(left as f64 / f64::from(rate.count));
        }
        let count = "SELECT count(*) FROM queue WHERE quota = ? AND window = ?";
        let mut statement = self.connection.prepare_cached(count)?;
        let waiting: i64 =
            statement.query_row(params![self.quota, window.name()], |row| row.get(0))?;
        Ok(WindowUsage {
            free_share: share,
            wait: self.earliest(window, now, waiting as usize)? - now,
        })
    }

    /// Ends a call. If its lease had run out before, it counts from its end again, to be safe.
    pub fn end_call(&self, window: Operation, ticket: Ticket, ended: f64) -> Sql<()> {
        let end = "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)";
        self.execute(end, params![self.quota, window.name(), ticket.to_string(), ended]).map(drop)
    }

    /// Blocks the window until `until`. Never shortens an earlier block.
    pub fn block_window(&self, window: Operation, until: f64) -> Sql<()> {
        let block = "INSERT INTO window_blocks VALUES (?, ?, ?) ON CONFLICT DO UPDATE \
                     SET until = max(until, excluded.until)";
        self.execute(block, params![self.quota, window.name(), until]).map(drop)
    }
}
