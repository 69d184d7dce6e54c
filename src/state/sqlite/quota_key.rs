//! Registers the quota key, and takes over what was stored for it under other names of its service.

use super::Sql;
use super::connection::StoreConnection;
use crate::state::service_name;

/// Every table whose rows belong to a quota key.
const TABLES: [&str; 11] = [
    "calls",
    "window_blocks",
    "queue_owners",
    "queue",
    "slots",
    "intents",
    "cached_statuses",
    "runs",
    "unreliable_comments",
    "store_checks",
    "listed_actions",
];

impl StoreConnection {
    /// Returns the row id of the quota key. Inserts the key first if it is new.
    pub fn quota_id(&self) -> Sql<i64> {
        let key = &self.settings.key;
        let parts = [&key.host, &key.tenant, &key.application];
        let insert = "INSERT INTO quotas (host, tenant, application) VALUES (?, ?, ?) \
                      ON CONFLICT DO NOTHING";
        self.connection.execute(insert, parts)?;
        let find = "SELECT id FROM quotas WHERE host = ? AND tenant = ? AND application = ?";
        let quota = self.connection.query_row(find, parts, |row| row.get(0))?;
        self.take_over_other_names(quota)?;
        Ok(quota)
    }

    /// Moves what is stored under another host name of the service.
    fn take_over_other_names(&self, quota: i64) -> Sql<()> {
        let key = &self.settings.key;
        let others = "SELECT id, host, boot FROM quotas WHERE tenant = ? AND application = ? \
                      AND id <> ?";
        let mut statement = self.connection.prepare(others)?;
        let others = statement
            .query_map((&key.tenant, &key.application, quota), |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Sql<Vec<(i64, String, String)>>>()?;
        for (other, _, boot) in
            others.into_iter().filter(|(_, host, _)| service_name(host) == key.host)
        {
            for table in TABLES {
                // What both have is that of the present name.
                let take = format!("UPDATE OR IGNORE {table} SET quota = ? WHERE quota = ?");
                self.connection.execute(&take, [quota, other])?;
                self.connection
                    .execute(&format!("DELETE FROM {table} WHERE quota = ?"), [other])?;
            }
            self.connection.execute("DELETE FROM quotas WHERE id = ?", [other])?;
            // A power cut since then concerns the calls that were taken over, too.
            let keep = "UPDATE quotas SET boot = ? WHERE id = ? AND boot = ''";
            self.connection.execute(keep, (boot, quota))?;
        }
        Ok(())
    }
}
