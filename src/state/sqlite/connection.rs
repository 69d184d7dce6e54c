//! The open file, in the hands of its thread: one transaction is one decision.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::worker::Job;
use super::{file, machine_clock};
use crate::error::Result;
use crate::state::monotonic::MonotonicClock;
use crate::state::store::{DeferredWrite, Settings};

pub type Work = Box<dyn FnOnce(&mut StoreConnection) + Send>;

/// What nobody waits for goes with the next decision, or by itself after this.
const FLUSH_DELAY: Duration = Duration::from_millis(5);
const FLUSH_RETRY_DELAY: Duration = Duration::from_secs(1);
/// More is done at once.
const FLUSH_BATCH: usize = 64;
/// What can't be written is remembered up to here: forgotten, it ends by its lease.
const MAX_DEFERRED: usize = 10_000;

pub struct StoreConnection {
    pub connection: Connection,
    pub settings: Settings,
    pub quota: i64,
    pub clock_id: String,
    path: Arc<PathBuf>,
    full_sync: bool,
    deferred: Vec<DeferredWrite>,
    due: Option<Instant>,
}

/// Whether a power cut may take back what was written. A killed process never takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Synced,
    /// What the last [`Durability::MAX_LOSS`] wrote may be lost: after a boot, as much as that can have been counts.
    SyncedSoon,
    /// Losing it makes nothing less strict.
    Relaxed,
}

impl Durability {
    /// Seconds.
    pub const MAX_LOSS: f64 = 1.0;
}

impl StoreConnection {
    pub fn open(path: Arc<PathBuf>, settings: Settings) -> Result<Self> {
        let connection = file::open(&path, settings.timeout, settings.max_pages)?;
        let clock_id = machine_clock::boot_id();
        let (deferred, due) = (Vec::new(), None);
        let mut db =
            Self { connection, settings, quota: 0, clock_id, path, full_sync: true, deferred, due };
        db.quota = db.transact(Durability::Synced, |db, now| {
            let quota = db.quota_id()?;
            db.count_calls_lost_in_power_cut(quota, now).map(|()| quota)
        })?;
        Ok(db)
    }

    pub fn serve(mut self, receiver: &Receiver<Job>) {
        loop {
            match self.next(receiver) {
                Ok(Job::Transaction(work)) => work(&mut self),
                Ok(Job::Deferred(later)) => self.push_deferred(later),
                Err(RecvTimeoutError::Timeout) => self.flush_deferred(),
                Err(RecvTimeoutError::Disconnected) => return self.flush_deferred(),
            }
        }
    }

    fn next(&self, receiver: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        match self.due {
            Some(due) => receiver.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn push_deferred(&mut self, later: DeferredWrite) {
        if self.deferred.len() < MAX_DEFERRED {
            self.deferred.push(later);
        }
        self.due.get_or_insert_with(|| Instant::now() + FLUSH_DELAY);
        if self.deferred.len() == FLUSH_BATCH {
            self.flush_deferred();
        }
    }

    fn flush_deferred(&mut self) {
        if let Err(error) = self.transact(Durability::Relaxed, |_, _| Ok(())) {
            log::debug!(target: crate::trace::LOG_TARGET, "{error}");
        }
    }

    /// Does `work` in one transaction, after what was put off.
    pub fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Self, f64) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let done = self.try_transact(durability, work);
        if done.is_ok() {
            self.deferred.clear();
            self.due = None;
        } else if !self.deferred.is_empty() {
            self.due = Some(Instant::now() + FLUSH_RETRY_DELAY);
        }
        done.map_err(|error| file::to_error(&self.path, &error))
    }

    fn try_transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Self, f64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // A clock that does not tell one boot from another can't tell that a power cut took something.
        let mut full_sync = durability == Durability::Synced
            || (durability == Durability::SyncedSoon && self.clock_id.is_empty());
        loop {
            self.set_full_sync(full_sync)?;
            let transaction =
                Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let (now, synced) = self.now(full_sync)?;
            if durability == Durability::SyncedSoon
                && !full_sync
                && now - synced >= Durability::MAX_LOSS
            {
                full_sync = true;
                continue;
            }
            for write in &self.deferred {
                self.apply(write, now)?;
            }
            let done = work(self, now)?;
            transaction.commit()?;
            return Ok(done);
        }
    }

    fn set_full_sync(&mut self, full_sync: bool) -> rusqlite::Result<()> {
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

    fn apply(&self, later: &DeferredWrite, now: f64) -> rusqlite::Result<()> {
        match later {
            DeferredWrite::EndCall(window, ticket) => self.end_call(*window, *ticket, now),
            DeferredWrite::ReleaseSlot(machine_id, ticket) => {
                self.release_slot(machine_id, *ticket)
            }
            DeferredWrite::ReleaseLease(key, token) => self.release_lease(key, *token),
        }
    }

    /// The time, and that of the last careful write. Read with the write lock held, so that the next to hold it reads
    /// a later one.
    fn now(&self, full_sync: bool) -> rusqlite::Result<(f64, f64)> {
        let read = "SELECT clock_id, clock_offset, last, synced FROM time";
        let (mut clock, synced) = self.connection.prepare_cached(read)?.query_row([], |row| {
            Ok((
                MonotonicClock { clock_id: row.get(0)?, offset: row.get(1)?, last: row.get(2)? },
                row.get::<_, f64>(3)?,
            ))
        })?;
        let now = match &self.settings.now {
            Some(now) => clock.advance_to(now()),
            None => clock.advance(&machine_clock::read(&self.clock_id)),
        };
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
}
