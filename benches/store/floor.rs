//! The least that any store of this kind needs: one PING of Redis, or one UPDATE in SQLite.

use mde_live_response::error::{Error, Result};
use rusqlite::Connection;

/// The prefix of an address that is measured without this library.
pub const FLOOR: &str = "floor ";

/// A connection of its own, as each of the eight processes has it.
pub enum Floor {
    Redis(redis::aio::MultiplexedConnection),
    Sqlite(Connection),
}

impl Floor {
    pub async fn open(address: &str) -> Result<Self> {
        if let Some(path) = address.strip_prefix("sqlite://") {
            return sqlite(path).map(Self::Sqlite).map_err(failed);
        }
        let client = redis::Client::open(address).map_err(failed)?;
        client.get_multiplexed_async_connection().await.map(Self::Redis).map_err(failed)
    }

    pub async fn call(&mut self) -> Result<()> {
        match self {
            Self::Redis(connection) => {
                redis::cmd("PING").exec_async(connection).await.map_err(failed)
            }
            Self::Sqlite(connection) => connection
                .execute_batch("BEGIN IMMEDIATE; UPDATE count SET n = n + 1; COMMIT")
                .map_err(failed),
        }
    }
}

/// Opens a file with the settings of the store.
fn sqlite(path: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS count (n INTEGER NOT NULL);
         INSERT INTO count SELECT 0 WHERE NOT EXISTS (SELECT * FROM count)",
    )?;
    Ok(connection)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::invalid(error.to_string())
}
