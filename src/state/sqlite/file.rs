//! Opening the file: its place, its mode, whose it is and of which version.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::location;
use crate::error::{Error, Result};
use crate::state::recovery::{unavailable_error, unusable_error};

/// "mlrs", in the header of the file.
const APPLICATION_ID: i32 = 0x6d6c_7273;
pub const VERSION: i32 = 1;
const SCHEMA: &str = include_str!("schema.sql");
/// Added to a file of the same version that was made without.
const RUNS: &str = include_str!("runs.sql");

/// Opens the store, made where there is none.
pub fn open(path: &Path, timeout: f64, max_pages: Option<u32>) -> Result<Connection> {
    location::check(path)?;
    create_private(path)?;
    let give_up = Instant::now() + Duration::from_secs_f64(timeout);
    loop {
        match try_open(path, max_pages) {
            // Setting up WAL does not ask the busy handler: several processes may be at it at once.
            Err(Failure::Sqlite(error)) if is_busy(&error) && Instant::now() < give_up => {
                std::thread::sleep(Duration::from_millis(fastrand::u64(2..20)));
            }
            Err(Failure::Sqlite(error)) => return Err(to_error(path, &error)),
            Err(Failure::Unfit(error)) => return Err(*error),
            Ok(connection) => return Ok(connection),
        }
    }
}

enum Failure {
    Sqlite(rusqlite::Error),
    Unfit(Box<Error>),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn try_open(path: &Path, max_pages: Option<u32>) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_handler(Some(wait_when_busy))?;
    connection.set_prepared_statement_cache_capacity(64);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        let message = format!(
            "the state store {}: its file system has no shared memory for SQLite",
            path.display()
        );
        return Err(Failure::Unfit(Box::new(unusable_error(message, "put it on a local disk"))));
    }
    if let Some(pages) = max_pages {
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let application: i32 =
        transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))?;
    if (application, version, tables) == (0, 0, 0) {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    } else if application != APPLICATION_ID {
        let message =
            format!("{} is a database of another program, not a state store", path.display());
        return Err(Failure::Unfit(Box::new(unusable_error(
            message,
            "name a file of its own for the state store",
        ))));
    } else if version != VERSION {
        let message = format!(
            "the state store {} is of version {version}, and this library reads version {VERSION}",
            path.display()
        );
        let hint = "use one version of the library for all who share it, or a new file once nothing is open in the old";
        return Err(Failure::Unfit(Box::new(unusable_error(message, hint))));
    }
    transaction.execute_batch(RUNS)?;
    transaction.commit()?;
    Ok(connection)
}

/// Made before SQLite opens it, which gives its companions the mode of the file.
fn create_private(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            let message = format!("the state store {} can't be made: {error}", path.display());
            Err(unusable_error(message, "name a file in a directory that this user may write to")
                .with_source(error))
        }
        _ => Ok(()),
    }
}

/// SQLite's own handler sleeps up to 100 ms at a time; a decision here takes a tenth of one. All sleep alike, whether
/// they came early or late: there is no queue, but nobody is the less likely to be next for having waited.
fn wait_when_busy(times: i32) -> bool {
    let longest = if times < 100 { 200 } else { 2000 };
    std::thread::sleep(Duration::from_micros(fastrand::u64(20..=longest)));
    times < 10_000
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// What SQLite says, in the caller's terms.
pub fn to_error(path: &Path, error: &rusqlite::Error) -> Error {
    let path = path.display();
    let translated = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => unavailable_error(
            format!("the state store {path} was locked by other processes for too long"),
            "look for a process that stands still in the middle of a write",
        ),
        Some(ErrorCode::DiskFull) => unavailable_error(
            format!("the state store {path}: its disk is full"),
            "make room on the disk, or prune the store",
        ),
        Some(ErrorCode::NotADatabase) => unusable_error(
            format!("{path} is not a state store, nor a database at all"),
            "name a file of its own for the state store",
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
            "keep it aside and begin a new one once nothing is open, at the earliest two hours after the last submit",
        ),
        _ => {
            unavailable_error(format!("the state store {path} failed: {error}"), "see the message")
        }
    };
    match error {
        rusqlite::Error::SqliteFailure(code, words) => {
            translated.with_source(rusqlite::Error::SqliteFailure(*code, words.clone()))
        }
        _ => translated,
    }
}
