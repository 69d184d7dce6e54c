//! The open database, owned by the worker thread. One transaction is one decision.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::deferred::DeferredWrites;
use super::identity::{FileIdentity, SeenTime};
use super::{Sql, file, machine_clock};
use crate::error::Result;
use crate::state::monotonic::MonotonicClock;
use crate::state::settings::StoreSettings;
use crate::state::store::DeferredWrite;

pub type Transact = Box<dyn FnOnce(&mut StoreConnection) + Send>;

/// A job for the worker thread.
pub enum WorkerJob {
    Transaction(Transact),
    /// A write that nobody waits for, and when it was asked for.
    Deferred(DeferredWrite, Instant),
}

pub struct StoreConnection {
    pub connection: Connection,
    pub settings: StoreSettings,
    /// The row id of the quota key.
    pub quota: i64,
    /// The boot id of the machine.
    pub clock_id: String,
    pub path: Arc<PathBuf>,
    /// Which file is open.
    pub file: FileIdentity,
    seen: Arc<SeenTime>,
    /// The present value of `PRAGMA synchronous`: FULL, or NORMAL.
    full_sync: bool,
    deferred: DeferredWrites,
}

/// Whether a power cut may undo a write. A killed process never undoes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Never undone.
    Synced,
    /// Writes of the last [`Durability::MAX_LOSS`] seconds may be undone. After a boot, the calls
    /// that may be missing are counted as made.
    SyncedSoon,
    /// May be undone: without it the limits are only stricter.
    Relaxed,
}

impl Durability {
    /// Seconds of writes that a power cut may undo.
    pub const MAX_LOSS: f64 = 1.0;
}

impl StoreConnection {
    /// Opens the file and registers the quota key.
    pub fn open(path: Arc<PathBuf>, settings: StoreSettings, seen: Arc<SeenTime>) -> Result<Self> {
        let connection = file::open(&path, settings.timeout, settings.max_pages)?;
        let clock_id = machine_clock::boot_id();
        let (deferred, file) = (DeferredWrites::default(), FileIdentity::default());
        // `full_sync` is true, because FULL is SQLite's default for PRAGMA synchronous.
        let mut db = Self {
            connection,
            settings,
            quota: 0,
            clock_id,
            path,
            file,
            seen,
            full_sync: true,
            deferred,
        };
        db.register()?;
        Ok(db)
    }

    /// Registers the quota key in the file that has just been opened.
    fn register(&mut self) -> Result<()> {
        let to_error = |error: rusqlite::Error, path: &PathBuf| file::to_error(path, &error);
        let seen = self.seen.get();
        let is_suspect = self.is_suspect(seen).map_err(|error| to_error(error, &self.path))?;
        self.file = FileIdentity::read(&self.path).unwrap_or_default();
        let quota = self.try_transact(Durability::Synced, |db, now| {
            let quota = db.quota_id()?;
            db.note_open(quota, is_suspect, is_suspect && seen > 0.0, now)?;
            db.count_calls_lost_in_power_cut(quota, now).map(|()| quota)
        });
        self.quota = quota.map_err(|error| to_error(error, &self.path))?;
        Ok(())
    }

    /// Opens the file again if another one has taken its place. Fails if it is gone.
    fn follow_file(&mut self) -> Result<()> {
        let Some(found) = FileIdentity::read(&self.path) else {
            return Err(file::missing_error(&self.path));
        };
        if found == self.file {
            return Ok(());
        }
        if found.main != self.file.main && found.wal == self.file.wal && !found.wal.is_empty() {
            return Err(file::mixed_error(&self.path));
        }
        log::warn!(
            target: crate::trace::LOG_TARGET,
            "the state store {} was replaced or restored while it was open; opening it again",
            self.path.display()
        );
        // The old connection must neither write into the new file nor share its locks.
        let forgotten =
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        let emptied = forgotten.and_then(|_| Connection::open_in_memory());
        self.connection = emptied.map_err(|error| file::to_error(&self.path, &error))?;
        self.file = FileIdentity::default();
        self.connection = file::open(&self.path, self.settings.timeout, self.settings.max_pages)?;
        self.full_sync = true;
        self.register()
    }

    /// Does the jobs until the sender is dropped, then the deferred writes.
    pub fn serve(mut self, receiver: &Receiver<WorkerJob>) {
        loop {
            match self.next(receiver) {
                Ok(WorkerJob::Transaction(work)) => work(&mut self),
                Ok(WorkerJob::Deferred(write, since)) => self.push_deferred(write, since),
                Err(RecvTimeoutError::Timeout) => self.flush_deferred(),
                Err(RecvTimeoutError::Disconnected) => return self.flush_deferred(),
            }
        }
    }

    fn next(&self, receiver: &Receiver<WorkerJob>) -> Result<WorkerJob, RecvTimeoutError> {
        match self.deferred.due {
            Some(due) => receiver.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn push_deferred(&mut self, write: DeferredWrite, since: Instant) {
        if self.deferred.push(write, since) {
            self.flush_deferred();
        }
    }

    /// Does the deferred writes in a transaction of their own.
    fn flush_deferred(&mut self) {
        if let Err(error) = self.transact(Durability::Relaxed, |_, _| Ok(())) {
            // The writes stay queued and are tried again.
            log::debug!(target: crate::trace::LOG_TARGET, "{error}");
        }
    }

    /// Runs `work` in one transaction, after the deferred writes.
    pub fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Self, f64) -> Sql<T>,
    ) -> Result<T> {
        let done = self.follow_file().and_then(|()| {
            let done = self.try_transact(durability, work);
            done.map_err(|error| file::to_error(&self.path, &error))
        });
        if done.is_ok() {
            // They were committed with this transaction. A failed one rolls them back, and they
            // stay queued.
            self.deferred.clear();
        } else {
            self.deferred.retry_later();
        }
        done
    }

    fn try_transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Self, f64) -> Sql<T>,
    ) -> Sql<T> {
        // Without a boot id, a power cut can't be detected afterwards. So every write is synced.
        let mut full_sync = durability == Durability::Synced
            || (durability == Durability::SyncedSoon && self.clock_id.is_empty());
        loop {
            self.set_full_sync(full_sync)?;
            // IMMEDIATE takes the write lock now. A later upgrade of a read lock may fail in the
            // middle.
            let transaction =
                Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            // Read before the store's clock: a call must not end earlier than it did.
            let before = Instant::now();
            let (now, synced) = self.now(full_sync)?;
            // The last synced write is too old: start again, with a full sync this time.
            if durability == Durability::SyncedSoon
                && !full_sync
                && now - synced >= Durability::MAX_LOSS
            {
                full_sync = true;
                continue;
            }
            for (write, age) in self.deferred.with_ages(before) {
                self.apply(write, now, age)?;
            }
            let done = work(self, now)?;
            transaction.commit()?;
            self.seen.set(now);
            return Ok(done);
        }
    }

    fn set_full_sync(&mut self, full_sync: bool) -> Sql<()> {
        if self.full_sync != full_sync {
            self.connection.pragma_update(
                None,
                "synchronous",
                if full_sync { "FULL" } else { "NORMAL" },
            )?;
            self.full_sync = full_sync;
        }
        Ok(())
    }

    /// Does a deferred write that was queued for `age` seconds.
    fn apply(&self, write: &DeferredWrite, now: f64, age: f64) -> Sql<()> {
        match write {
            DeferredWrite::EndCall(window, ticket) => {
                // A test's time stands still while a write is queued.
                let age = if self.settings.now.is_some() { 0.0 } else { age };
                self.end_call(*window, *ticket, now - age)
            }
            DeferredWrite::ReleaseSlot(machine_id, ticket) => {
                self.release_slot(machine_id, *ticket)
            }
            DeferredWrite::ReleaseLease(key, token) => self.release_lease(key, *token),
        }
    }

    /// Returns the clock as the last transaction left it, and the time of the last synced write.
    pub fn read_clock(&self) -> Sql<(MonotonicClock, f64)> {
        let read = "SELECT clock_id, clock_offset, last, synced FROM time";
        self.connection.prepare_cached(read)?.query_row([], |row| {
            Ok((
                MonotonicClock { clock_id: row.get(0)?, offset: row.get(1)?, last: row.get(2)? },
                row.get(3)?,
            ))
        })
    }

    /// Advances the clock to the present time, and returns it.
    pub fn advance(&self, clock: &mut MonotonicClock) -> f64 {
        match &self.settings.now {
            Some(now) => clock.advance_to(now()),
            None => clock.advance(&machine_clock::read(&self.clock_id)),
        }
    }

    /// Returns the time, and the time of the last synced write.
    ///
    /// Call it with the write lock held, so that the next holder gets a later time.
    fn now(&self, full_sync: bool) -> Sql<(f64, f64)> {
        let (mut clock, synced) = self.read_clock()?;
        let has_gone_back = clock.last < self.seen.get();
        let now = self.advance(&mut clock);
        if has_gone_back {
            self.distrust_all(now)?;
        }
        let set = "UPDATE time SET clock_id = ?, clock_offset = ?, last = ?, synced = ?";
        let at = if full_sync { now } else { synced };
        self.connection.prepare_cached(set)?.execute((
            &clock.clock_id,
            clock.offset,
            clock.last,
            at,
        ))?;
        Ok((now, synced))
    }

    /// Runs one statement, prepared once. Returns how many rows it changed.
    pub fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Sql<usize> {
        self.connection.prepare_cached(sql)?.execute(values)
    }
}
