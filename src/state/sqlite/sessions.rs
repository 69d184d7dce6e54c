//! Slots, intents and cached statuses, in SQL.

use rusqlite::{OptionalExtension, Row, params};

use super::Sql;
use super::connection::StoreConnection;
use crate::model::Command;
use crate::state::hex_id;
use crate::state::store::{
    CachedStatus, Intent, IntentKey, IntentLookup, OpenSession, SessionSlot, Ticket,
};

/// The result of [`StoreConnection::record_posted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseCheck {
    /// The token holds the lease, and the intent holds its slot. The POST was recorded.
    Held,
    NoLease,
    NoSlot,
}

const INTENT: &str = "SELECT commands, comment, created, posted, action FROM intents \
                      WHERE quota = ? AND machine = ? AND correlation = ?";

impl StoreConnection {
    pub fn release_slot(&self, machine_id: &str, ticket: Ticket) -> Sql<()> {
        // Once an action is known, the slot belongs to the action and not to the ticket.
        let free =
            "DELETE FROM slots WHERE quota = ? AND machine = ? AND ticket = ? AND action IS NULL";
        self.execute(free, params![self.quota, machine_id, ticket.to_string()]).map(drop)
    }

    pub fn close_session(&self, action_id: &str) -> Sql<bool> {
        // Action ids are GUIDs, so their case does not matter.
        let close = "DELETE FROM slots WHERE quota = ? AND action = ? COLLATE NOCASE";
        Ok(self.execute(close, params![self.quota, action_id])? > 0)
    }

    pub fn release_in_doubt_slot(&self, machine_id: &str, seconds: f64, now: f64) -> Sql<bool> {
        let clear =
            "DELETE FROM slots WHERE quota = ? AND machine = ? AND action IS NULL AND posted <= ?";
        Ok(self.execute(clear, params![self.quota, machine_id, now - seconds])? > 0)
    }

    pub fn slots(&self, now: f64) -> Sql<Vec<SessionSlot>> {
        let open = "SELECT machine, correlation, action, until, ?2 - posted FROM slots \
                    WHERE quota = ?1 AND until > ?2 ORDER BY machine";
        let mut statement = self.connection.prepare_cached(open)?;
        let slot = |row: &Row<'_>| {
            Ok(SessionSlot {
                machine_id: row.get(0)?,
                correlation_id: row.get(1)?,
                action_id: row.get(2)?,
                until: row.get(3)?,
                in_doubt: row.get(4)?,
            })
        };
        statement.query_map(params![self.quota, now], slot)?.collect()
    }

    pub fn record_open_sessions(&self, sessions: &[OpenSession], now: f64) -> Sql<()> {
        self.execute("DELETE FROM slots WHERE quota = ? AND until <= ?", params![self.quota, now])?;
        // A machine has one slot, and ours knows more than the list.
        let insert = "INSERT OR IGNORE INTO slots (quota, machine, action, until, lease) \
                      VALUES (?, ?, ?, ?, ?)";
        for OpenSession { machine_id, action_id, lease } in sessions {
            self.execute(insert, params![self.quota, machine_id, action_id, now + lease, lease])?;
        }
        Ok(())
    }

    pub fn get_or_create_intent(
        &self,
        key: &IntentKey,
        commands: &[Command],
        comment: &str,
        now: f64,
    ) -> Sql<IntentLookup> {
        if let Some(intent) = self.get_intent(key)? {
            // It may be older than a POST that the file has forgotten.
            let since_state_loss = self.since_loss(now)?;
            return Ok(IntentLookup { intent, known: true, since_state_loss });
        }
        let (machine, correlation) = (&key.machine_id, &key.correlation_id);
        let json = serde_json::to_string(commands).unwrap_or_default();
        let insert = "INSERT INTO intents (quota, machine, correlation, commands, comment, \
                      created) VALUES (?, ?, ?, ?, ?, ?)";
        self.execute(insert, params![self.quota, machine, correlation, json, comment, now])?;
        // Deleting a few with each new one bounds the table without a background task.
        self.sweep_intents(now)?;
        let (commands, comment) = (commands.to_vec(), comment.to_owned());
        let intent = Intent { commands, comment, created: now, posted: false, action_id: None };
        Ok(IntentLookup { intent, known: false, since_state_loss: self.since_loss(now)? })
    }

    pub fn get_intent(&self, key: &IntentKey) -> Sql<Option<Intent>> {
        let mut statement = self.connection.prepare_cached(INTENT)?;
        let intent = |row: &Row<'_>| intent(row, 0);
        statement
            .query_row(params![self.quota, key.machine_id, key.correlation_id], intent)
            .optional()
    }

    pub fn acquire_lease(&self, key: &IntentKey, token: u64, lease: f64, now: f64) -> Sql<bool> {
        let take = "UPDATE intents SET lease_token = ?4, lease_until = ?5 WHERE quota = ?1 \
                    AND machine = ?2 AND correlation = ?3 \
                    AND (lease_token IS NULL OR lease_token = ?4 OR lease_until <= ?6)";
        let (machine, correlation) = (&key.machine_id, &key.correlation_id);
        Ok(self.execute(
            take,
            params![self.quota, machine, correlation, hex_id(token), now + lease, now],
        )? > 0)
    }

    pub fn renew_lease(&self, key: &IntentKey, token: u64, until: f64) -> Sql<bool> {
        let renew = "UPDATE intents SET lease_until = ? WHERE quota = ? AND machine = ? \
                     AND correlation = ? AND lease_token = ?";
        let (machine, correlation) = (&key.machine_id, &key.correlation_id);
        let values = params![until, self.quota, machine, correlation, hex_id(token)];
        Ok(self.execute(renew, values)? > 0)
    }

    /// Ends the lease. If nothing of the intent was sent, deletes it and frees its slot, unless
    /// another token holds the lease.
    pub fn release_lease(&self, key: &IntentKey, token: u64) -> Sql<()> {
        let (quota, machine, correlation) = (self.quota, &key.machine_id, &key.correlation_id);
        // A posted intent stays, because its POST may have started a session.
        let forget = "DELETE FROM intents WHERE quota = ? AND machine = ? AND correlation = ? \
                      AND (lease_token = ? OR lease_token IS NULL) AND posted = 0 \
                      AND action IS NULL";
        if self.execute(forget, params![quota, machine, correlation, hex_id(token)])? > 0 {
            return self.free_slot_without_action(key);
        }
        let leave = "UPDATE intents SET lease_token = NULL, lease_until = NULL WHERE quota = ? \
                     AND machine = ? AND correlation = ? AND lease_token = ?";
        self.execute(leave, params![quota, machine, correlation, hex_id(token)]).map(drop)
    }

    /// Frees the slot of the intent, if no action holds it.
    fn free_slot_without_action(&self, key: &IntentKey) -> Sql<()> {
        let free = "DELETE FROM slots WHERE quota = ? AND machine = ? AND correlation = ? \
                    AND action IS NULL";
        self.execute(free, params![self.quota, key.machine_id, key.correlation_id]).map(drop)
    }

    pub fn record_posted(
        &self,
        key: &IntentKey,
        token: u64,
        posted: bool,
        now: f64,
    ) -> Sql<LeaseCheck> {
        let (quota, machine, correlation) = (self.quota, &key.machine_id, &key.correlation_id);
        let held = "SELECT 1 FROM intents WHERE quota = ? AND machine = ? AND correlation = ? \
                    AND lease_token = ? AND lease_until > ?";
        let mut statement = self.connection.prepare_cached(held)?;
        // The POST must not be sent by a process whose lease has ended.
        if !statement.exists(params![quota, machine, correlation, hex_id(token), now])? {
            return Ok(LeaseCheck::NoLease);
        }
        // The session may run from now on, so the slot is held for its full lease.
        let extend = "UPDATE slots SET until = ?4 + lease, posted = ?4 WHERE quota = ?1 \
                      AND machine = ?2 AND correlation = ?3 AND until > ?4";
        if posted && self.execute(extend, params![quota, machine, correlation, now])? == 0 {
            return Ok(LeaseCheck::NoSlot);
        }
        let update =
            "UPDATE intents SET posted = ? WHERE quota = ? AND machine = ? AND correlation = ?";
        self.execute(update, params![posted, quota, machine, correlation])?;
        Ok(LeaseCheck::Held)
    }

    pub fn record_action(
        &self,
        key: &IntentKey,
        action_id: &str,
        lease: Option<f64>,
        now: f64,
    ) -> Sql<()> {
        let (quota, machine, correlation) = (self.quota, &key.machine_id, &key.correlation_id);
        let update =
            "UPDATE intents SET action = ? WHERE quota = ? AND machine = ? AND correlation = ?";
        self.execute(update, params![action_id, quota, machine, correlation])?;
        // A slot that another intent took since stays, and the INSERT below is ignored.
        let free =
            "DELETE FROM slots WHERE quota = ? AND machine = ? AND (correlation = ? OR until <= ?)";
        self.execute(free, params![quota, machine, correlation, now])?;
        if let Some(lease) = lease {
            let insert = "INSERT OR IGNORE INTO slots (quota, machine, correlation, action, \
                          until, lease) VALUES (?, ?, ?, ?, ?, ?)";
            self.execute(
                insert,
                params![quota, machine, correlation, action_id, now + lease, lease],
            )?;
        }
        Ok(())
    }

    pub fn delete_unsent_intent(&self, key: &IntentKey) -> Sql<()> {
        let (quota, machine, correlation) = (self.quota, &key.machine_id, &key.correlation_id);
        let forget = "DELETE FROM intents WHERE quota = ? AND machine = ? AND correlation = ? \
                      AND action IS NULL";
        if self.execute(forget, params![quota, machine, correlation])? > 0 {
            self.free_slot_without_action(key)?;
        }
        Ok(())
    }

    pub fn is_action_recorded(&self, action_id: &str) -> Sql<bool> {
        let find = "SELECT 1 FROM intents WHERE quota = ? AND action = ? COLLATE NOCASE";
        self.connection.prepare_cached(find)?.exists(params![self.quota, action_id])
    }

    pub fn record_unreliable_comments(&self) -> Sql<()> {
        let insert = "INSERT OR IGNORE INTO unreliable_comments VALUES (?)";
        self.execute(insert, [self.quota]).map(drop)
    }

    pub fn has_unreliable_comments(&self) -> Sql<bool> {
        let find = "SELECT 1 FROM unreliable_comments WHERE quota = ?";
        self.connection.prepare_cached(find)?.exists([self.quota])
    }

    pub fn cache_statuses(&self, statuses: &[(String, String)], now: f64) -> Sql<()> {
        for (action_id, body) in statuses {
            let put = "INSERT OR REPLACE INTO cached_statuses VALUES (?, ?, ?, ?)";
            self.execute(put, params![self.quota, action_id, now, body])?;
        }
        self.sweep_statuses(statuses.len(), now)
    }

    pub fn cached_statuses(
        &self,
        action_ids: Vec<String>,
        max_age: f64,
        now: f64,
    ) -> Sql<Vec<(String, CachedStatus)>> {
        let find =
            "SELECT body, seen FROM cached_statuses WHERE quota = ? AND action = ? AND seen >= ?";
        let mut statement = self.connection.prepare_cached(find)?;
        let mut seen = Vec::with_capacity(action_ids.len());
        for action_id in action_ids {
            let status = |row: &Row<'_>| {
                Ok(CachedStatus { body: row.get(0)?, age: now - row.get::<_, f64>(1)? })
            };
            let status = statement
                .query_row(params![self.quota, action_id, now - max_age], status)
                .optional()?;
            seen.extend(status.map(|status| (action_id, status)));
        }
        Ok(seen)
    }
}

/// Reads an intent from the columns of `row`, starting with column `first`.
pub fn intent(row: &Row<'_>, first: usize) -> Sql<Intent> {
    let commands: String = row.get(first)?;
    let commands = serde_json::from_str(&commands).map_err(|_| rusqlite::Error::InvalidQuery)?;
    Ok(Intent {
        commands,
        comment: row.get(first + 1)?,
        created: row.get(first + 2)?,
        posted: row.get(first + 3)?,
        action_id: row.get(first + 4)?,
    })
}
