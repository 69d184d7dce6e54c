//! Notices when the file may not hold everything that was written, and adds what the service's list
//! shows.

use rusqlite::{OptionalExtension, params};

use super::Sql;
use super::connection::StoreConnection;
use super::identity::changed_at;
use crate::operation::Operation;
use crate::state::retention;
use crate::state::store::ListedActions;

/// Seconds after the last entry for which an open trusts the file without a check. Some process is
/// using the file then.
const JUST_NOW: f64 = 2.0;
/// Seconds by which the file may have changed after its last entry.
const MAX_CHANGE_AFTER: f64 = 1.0;

impl StoreConnection {
    /// Returns whether the file may be another one, or an older copy. `seen`: the last entry that
    /// this process knows; 0 if none.
    pub fn is_suspect(&self, seen: f64) -> Sql<bool> {
        let (mut clock, _) = self.read_clock()?;
        let last = clock.last;
        if seen > 0.0 {
            return Ok(last < seen);
        }
        // A test's time has nothing to do with that of the file system.
        let is_touched =
            self.settings.now.is_none() && changed_at(&self.path) > last + MAX_CHANGE_AFTER;
        Ok(is_touched || self.advance(&mut clock) - last > JUST_NOW)
    }

    /// Records at an open whether the file must be held against the service's list.
    ///
    /// `has_lost`: entries that this process made or saw are missing for certain.
    pub fn note_open(&self, quota: i64, is_suspect: bool, has_lost: bool, now: f64) -> Sql<()> {
        let find = "SELECT file FROM store_checks WHERE quota = ?";
        let known: Option<String> =
            self.connection.query_row(find, [quota], |row| row.get(0)).optional()?;
        // A file that was checked under another identity is a copy, and may be an old one.
        let is_copy = known.as_ref().is_some_and(|file| *file != self.file.main);
        if is_suspect || is_copy || known.is_none() {
            let note = "INSERT INTO store_checks VALUES (?1, ?2, 0, ?3) ON CONFLICT (quota) \
                        DO UPDATE SET file = ?2, checked = 0, lost = coalesce(?3, lost)";
            let lost = (is_copy || has_lost).then_some(now);
            self.execute(note, params![quota, self.file.main, lost])?;
        }
        Ok(())
    }

    /// Notes for every quota key that earlier entries are missing.
    pub fn distrust_all(&self, now: f64) -> Sql<()> {
        self.execute("UPDATE store_checks SET checked = 0, lost = ?", [now]).map(drop)
    }

    pub fn needs_check(&self) -> Sql<bool> {
        let find = "SELECT 1 FROM store_checks WHERE quota = ? AND checked = 1";
        Ok(!self.connection.prepare_cached(find)?.exists([self.quota])?)
    }

    /// Returns the seconds since memory was found to be lost.
    pub fn since_loss(&self, now: f64) -> Sql<Option<f64>> {
        let find = "SELECT ? - lost FROM store_checks WHERE quota = ?";
        let mut statement = self.connection.prepare_cached(find)?;
        Ok(statement
            .query_row(params![now, self.quota], |row| row.get::<_, Option<f64>>(0))
            .optional()?
            .flatten())
    }

    pub fn find_unknown_actions(&self, action_ids: Vec<String>) -> Sql<Vec<String>> {
        let find = "SELECT 1 FROM listed_actions WHERE quota = ? AND action = ?";
        let mut listed = self.connection.prepare_cached(find)?;
        let mut unknown = Vec::new();
        for action_id in action_ids {
            if !self.is_action_recorded(&action_id)?
                && !listed.exists(params![self.quota, action_id])?
            {
                unknown.push(action_id);
            }
        }
        Ok(unknown)
    }

    pub fn record_check(&self, listed: &ListedActions, now: f64) -> Sql<()> {
        let window = Operation::RunLiveResponse;
        let longest = self.settings.longest_window(window);
        let forget = "DELETE FROM listed_actions WHERE quota = ? AND seen <= ?";
        self.execute(forget, params![self.quota, now - retention::LISTED_ACTIONS])?;
        for (action_id, age) in &listed.unknown {
            let note = "INSERT OR REPLACE INTO listed_actions VALUES (?, ?, ?)";
            self.execute(note, params![self.quota, action_id, now])?;
            if *age <= longest {
                let call = "INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?)";
                let ticket = format!("listed as {action_id}");
                self.execute(call, params![self.quota, window.name(), ticket, now - age])?;
            }
        }
        self.record_open_sessions(&listed.open, now)?;
        let lost = (!listed.unknown.is_empty()).then_some(now);
        let done = "INSERT INTO store_checks VALUES (?1, ?2, 1, ?3) ON CONFLICT (quota) \
                    DO UPDATE SET checked = 1, lost = coalesce(?3, lost)";
        self.execute(done, params![self.quota, self.file.main, lost]).map(drop)
    }
}
