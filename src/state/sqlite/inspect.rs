//! Snapshots, pruning and sweeps, in SQL.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::connection::StoreConnection;
use super::sessions::intent;
use super::{Sql, file};
use crate::error::Result;
use crate::operation::Operation;
use crate::state::store::{IntentKey, IntentState, Pruned, Snapshot, WindowState};
use crate::state::{QuotaKey, retention};

/// Returns the quota keys that the store holds.
pub fn quota_keys(path: &Path) -> Result<Vec<QuotaKey>> {
    let read = || -> Sql<Vec<QuotaKey>> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let mut statement =
            connection.prepare("SELECT host, tenant, application FROM quotas ORDER BY 1, 2, 3")?;
        let key = |row: &Row<'_>| {
            Ok(QuotaKey { host: row.get(0)?, tenant: row.get(1)?, application: row.get(2)? })
        };
        statement.query_map([], key)?.collect()
    };
    read().map_err(|error| file::to_error(path, &error))
}

impl StoreConnection {
    /// Returns what is stored for the quota key.
    pub fn snapshot(&self, now: f64) -> Sql<Snapshot> {
        let windows = Operation::ALL
            .into_iter()
            .map(|window| self.window_state(window, now))
            .collect::<Sql<_>>()?;
        let all = "SELECT machine, correlation, coalesce(lease_until, 0) > ?, commands, comment, \
                   created, posted, action FROM intents WHERE quota = ? ORDER BY created";
        let mut statement = self.connection.prepare_cached(all)?;
        let state = |row: &Row<'_>| {
            let key = IntentKey { machine_id: row.get(0)?, correlation_id: row.get(1)? };
            Ok(IntentState { key, lease_held: row.get(2)?, intent: intent(row, 3)? })
        };
        let intents = statement.query_map(params![now, self.quota], state)?.collect::<Sql<_>>()?;
        Ok(Snapshot { now, windows, slots: self.slots(now)?, intents })
    }

    fn window_state(&self, window: Operation, now: f64) -> Sql<WindowState> {
        let count = "SELECT coalesce(sum(ends > ?3), 0), coalesce(sum(ends <= ?3), 0), \
                     (SELECT count(*) FROM queue WHERE quota = ?1 AND window = ?2) FROM calls \
                     WHERE quota = ?1 AND window = ?2 AND ends > ?4";
        let since = now - self.settings.longest_window(window);
        let mut statement = self.connection.prepare_cached(count)?;
        let (running, ended, waiting): (i64, i64, i64) = statement
            .query_row(params![self.quota, window.name(), now, since], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        Ok(WindowState {
            name: window.name().to_owned(),
            running: running as u64,
            ended: ended as u64,
            waiting: waiting as u64,
            blocked_for: (self.blocked_until(window)? - now).max(0.0),
        })
    }

    /// Deletes what is older than `seconds`, except what is open or in use.
    pub fn prune(&self, seconds: f64, now: f64) -> Sql<Pruned> {
        let (quota, before) = (self.quota, now - seconds);
        // An intent is in use while its slot or its lease is held.
        let intents = self.execute(
            "DELETE FROM intents WHERE quota = ?1 AND created <= ?2 \
             AND coalesce(lease_until, 0) <= ?3 AND NOT EXISTS (SELECT 1 FROM slots \
             WHERE slots.quota = ?1 AND slots.machine = intents.machine \
             AND slots.correlation = intents.correlation AND slots.until > ?3)",
            params![quota, before, now],
        )?;
        let statuses = self.execute(
            "DELETE FROM cached_statuses WHERE quota = ? AND seen <= ?",
            params![quota, before],
        )?;
        Ok(Pruned {
            intents: intents as u64,
            statuses: statuses as u64,
            runs: self.prune_runs(before, now)?,
        })
    }

    /// Deletes a few intents past their retention, of any quota key.
    pub fn sweep_intents(&self, now: f64) -> Sql<()> {
        let sweep = "DELETE FROM intents WHERE (quota, machine, correlation) IN \
                     (SELECT quota, machine, correlation FROM intents AS old \
                     WHERE created <= ?1 AND (posted = 0 OR action IS NOT NULL) \
                     AND coalesce(lease_until, 0) <= ?2 AND NOT EXISTS (SELECT 1 FROM slots \
                     WHERE slots.quota = old.quota AND slots.machine = old.machine \
                     AND slots.correlation = old.correlation AND slots.until > ?2) \
                     ORDER BY created LIMIT ?3)";
        self.execute(sweep, params![now - retention::INTENTS, now, retention::SWEEP_BATCH as i64])
            .map(drop)
    }

    /// Deletes statuses past their retention, of any quota key: two for each one added, so that a
    /// backlog shrinks.
    pub fn sweep_statuses(&self, added: usize, now: f64) -> Sql<()> {
        let sweep = "DELETE FROM cached_statuses WHERE (quota, action) IN \
                     (SELECT quota, action FROM cached_statuses WHERE seen <= ? \
                     ORDER BY seen LIMIT ?)";
        self.execute(sweep, params![now - retention::STATUSES, 2 * added as i64]).map(drop)
    }
}
