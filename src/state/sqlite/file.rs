//! Opens the file and checks it: its location, its mode, its application id and its version.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::location;
use crate::error::{Error, Result};
use crate::state::store_error::{unavailable_error, unusable_error};

/// "mlrs", in the header of the file (https://sqlite.org/pragma.html#pragma_application_id).
const APPLICATION_ID: i32 = 0x6d6c_7273;
/// The version of the tables, in the header of the file.
pub const VERSION: i32 = 1;
const SCHEMA: &str = include_str!("schema.sql");
/// Tables for runs, added to files of the same version that do not have them.
const RUNS: &str = include_str!("runs.sql");
const ADDITIONS: &str = include_str!("additions.sql");

/// Opens the store. Creates it if there is none.
pub fn open(path: &Path, timeout: f64, max_pages: Option<u32>) -> Result<Connection> {
    location::check(path)?;
    create_private(path)?;
    let deadline = Instant::now() + Duration::from_secs_f64(timeout);
    loop {
        match try_open(path, max_pages) {
            // SQLite does not call the busy handler while it switches to WAL, and several processes
            // may do that at the same time. So the retry is here.
            Err(OpenFailure::Sqlite(error)) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(fastrand::u64(2..20)));
            }
            Err(OpenFailure::Sqlite(error)) => return Err(to_error(path, &error)),
            Err(OpenFailure::Unusable(error)) => return Err(*error),
            Ok(connection) => return Ok(connection),
        }
    }
}

enum OpenFailure {
    Sqlite(rusqlite::Error),
    Unusable(Box<Error>),
}

impl From<rusqlite::Error> for OpenFailure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn try_open(path: &Path, max_pages: Option<u32>) -> Result<Connection, OpenFailure> {
    // Only the worker thread uses the connection, so SQLite needs no mutex.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_when_busy))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise SQLite compiles a statement again whenever a bound value has changed, such as the
    // time: that took half of an admission.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Before the switch to WAL, which changes the file.
    check_new_connection(&mut connection, path)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let message = format!(
            "the state store {} can't be opened: its file system does not support SQLite's WAL \
             mode",
            path.display()
        );
        return Err(OpenFailure::Unusable(Box::new(unusable_error(message, "use a local disk"))));
    }
    if let Some(pages) = max_pages {
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    // Two processes that create the file at once must not both create the tables.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (application, version, tables) = read_owner(&transaction)?;
    check_owner(&transaction, path)?;
    // The file is empty: this process is the first to open it.
    if (application, version, tables) == (0, 0, 0) {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.execute_batch(RUNS)?;
    transaction.execute_batch(ADDITIONS)?;
    transaction.commit()?;
    Ok(connection)
}

/// Checks the file of a connection that has no transaction yet.
fn check_new_connection(connection: &mut Connection, path: &Path) -> Result<(), OpenFailure> {
    // One snapshot: another process may create the store between two reads.
    let snapshot = connection.transaction()?;
    check_owner(&snapshot, path)
}

/// Fails if the file is that of another program or of another version.
fn check_owner(connection: &Connection, path: &Path) -> Result<(), OpenFailure> {
    let (application, version, tables) = read_owner(connection)?;
    if (application, version, tables) == (0, 0, 0)
        || (application, version) == (APPLICATION_ID, VERSION)
    {
        return Ok(());
    }
    let (message, hint) = if application == APPLICATION_ID {
        (
            format!(
                "the state store {} has version {version}, but this library reads version \
                 {VERSION}",
                path.display()
            ),
            "use the same version of the library in all processes that share it, or a new file \
             when no session is open",
        )
    } else {
        (
            format!("{} is the database of another program, not a state store", path.display()),
            "use a separate file for the state store",
        )
    };
    Err(OpenFailure::Unusable(Box::new(unusable_error(message, hint))))
}

/// Returns the application id, the version and the number of tables.
fn read_owner(connection: &Connection) -> rusqlite::Result<(i32, i32, i64)> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    let tables =
        connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    Ok((pragma("application_id")?, pragma("user_version")?, tables))
}

/// Creates the file so that only this user can read it.
///
/// SQLite gives its -wal and -shm files the mode of the main file, so it must exist before.
fn create_private(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        // An existing file keeps its mode: its owner may have shared it on purpose.
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let message = format!("the state store {} can't be created: {error}", path.display());
            Err(unusable_error(message, "use a file in a directory that this user can write to")
                .with_source(error))
        }
        _ => Ok(()),
    }
}

/// Sleeps while another process holds the write lock. Returns whether to try again.
///
/// SQLite's own handler sleeps up to 100 ms at a time, but a transaction here takes about 0.1 ms.
/// Every waiter sleeps the same random time, so waiting long does not make it less likely to be
/// next.
fn wait_when_busy(times: i32) -> bool {
    let longest = if times < 100 { 200 } else { 2000 };
    std::thread::sleep(Duration::from_micros(fastrand::u64(20..=longest)));
    times < 10_000
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Returns the error for a file that was deleted or moved while it was open.
pub fn missing_error(path: &Path) -> Error {
    unusable_error(
        format!(
            "the state store {} was deleted or moved while it was open: nothing was sent",
            path.display()
        ),
        "put the file back together with its -wal file; if it is lost, restart the processes that \
         use it: they start a new one and compare it with the service's list",
    )
}

/// Returns the error for a file that was replaced beside the -wal file of another.
pub fn mixed_error(path: &Path) -> Error {
    unusable_error(
        format!(
            "the state store {} was replaced while it was open, but its -wal file was not: \
             nothing was sent",
            path.display()
        ),
        "stop the processes that use it, put the file there together with its own -wal file or \
         without one, and start them again",
    )
}

/// Translates an error of SQLite.
pub fn to_error(path: &Path, error: &rusqlite::Error) -> Error {
    let path = path.display();
    let translated = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => unavailable_error(
            format!("the state store {path} was locked by other processes for too long"),
            "look for a process that hangs in the middle of a write",
        ),
        Some(ErrorCode::DiskFull) => unavailable_error(
            format!("the state store {path} can't be written: its disk is full"),
            "free space on the disk, or prune the store",
        ),
        Some(ErrorCode::SystemIoFailure) => unavailable_error(
            format!("the state store {path} can't be read or written"),
            "its disk fails, or the file was cut, replaced or removed while it was open: restart \
             the processes that use it, or put the file back",
        ),
        Some(ErrorCode::NotADatabase) => unusable_error(
            format!("{path} is not a state store: it is not a SQLite database"),
            "use a separate file for the state store",
        ),
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::AuthorizationForStatementDenied,
        ) => unusable_error(
            format!("the state store {path} can't be written"),
            "this user must be able to write to the file and to its directory",
        ),
        Some(ErrorCode::DatabaseCorrupt) => unusable_error(
            format!("the state store {path} is damaged"),
            "move it away, and start a new one when no session is open: at least two hours after \
             the last submit",
        ),
        _ => unavailable_error(
            format!("the state store {path} failed: {error}"),
            "the text after the colon is the message of SQLite",
        ),
    };
    match error {
        rusqlite::Error::SqliteFailure(code, words) => {
            translated.with_source(rusqlite::Error::SqliteFailure(*code, words.clone()))
        }
        _ => translated,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Another process may create the store between two reads of its header.
    #[test]
    fn a_store_that_is_being_created_is_not_another_programs() {
        let folder = std::env::temp_dir().join(format!("mde-owner-{}", fastrand::u64(..)));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("state.db");
        let connect = || {
            let connection = Connection::open(&path).unwrap();
            connection.busy_timeout(Duration::from_secs(30)).unwrap();
            connection
        };
        let writer = connect();
        writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
        let mut reader = connect();
        let (is_over, over) = (AtomicBool::new(false), Ordering::Relaxed);
        std::thread::scope(|scope| {
            let is_over = &is_over;
            scope.spawn(move || {
                while !is_over.load(over) {
                    for (id, version) in [(APPLICATION_ID, VERSION), (0, 0)] {
                        let sql = format!(
                            "BEGIN IMMEDIATE; PRAGMA application_id = {id}; \
                             PRAGMA user_version = {version}; COMMIT"
                        );
                        writer.execute_batch(&sql).unwrap();
                    }
                }
            });
            let failed = (0..5_000).any(|_| check_new_connection(&mut reader, &path).is_err());
            is_over.store(true, over);
            assert!(!failed);
        });
        std::fs::remove_dir_all(folder).unwrap();
    }
}
