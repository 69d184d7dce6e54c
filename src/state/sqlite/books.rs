//! The open file, in the hands of its thread: one transaction is one decision.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::worker::Piece;
use super::{file, machine_clock};
use crate::error::Result;
use crate::state::steady::Steady;
use crate::state::store::{Later, Settings};

pub type Work = Box<dyn FnOnce(&mut Books) + Send>;

/// What nobody waits for goes with the next decision, or by itself after this.
const LATEST: Duration = Duration::from_millis(5);
const LATEST_AFTER_FAILING: Duration = Duration::from_secs(1);
/// More is done at once.
const MOST: usize = 64;
/// What can't be written is remembered up to here: forgotten, it ends by its lease.
const REMEMBERED: usize = 10_000;

pub struct Books {
    pub connection: Connection,
    pub settings: Settings,
    pub quota: i64,
    pub era: String,
    path: Arc<PathBuf>,
    careful: bool,
    later: Vec<Later>,
    due: Option<Instant>,
}

/// Whether a power cut may take back what was written. A killed process never takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    Yes,
    /// What the last [`Durable::LOSS`] wrote may be lost: after a boot, as much as that can have been counts.
    Soon,
    /// Losing it makes nothing less strict.
    NeedNotBe,
}

impl Durable {
    /// Seconds.
    pub const LOSS: f64 = 1.0;
}

impl Books {
    pub fn open(path: Arc<PathBuf>, settings: Settings) -> Result<Self> {
        let connection = file::open(&path, settings.patience, settings.max_pages)?;
        let era = machine_clock::era();
        let (later, due) = (Vec::new(), None);
        let mut books = Self { connection, settings, quota: 0, era, path, careful: true, later, due };
        books.quota = books.transact(Durable::Yes, |books, now| {
            let quota = books.quota_id()?;
            books.count_what_a_power_cut_took(quota, now).map(|()| quota)
        })?;
        Ok(books)
    }

    pub fn serve(mut self, receiver: &Receiver<Piece>) {
        loop {
            match self.next(receiver) {
                Ok(Piece::Work(work)) => work(&mut self),
                Ok(Piece::Later(later)) => self.note(later),
                Err(RecvTimeoutError::Timeout) => self.catch_up(),
                Err(RecvTimeoutError::Disconnected) => return self.catch_up(),
            }
        }
    }

    fn next(&self, receiver: &Receiver<Piece>) -> Result<Piece, RecvTimeoutError> {
        match self.due {
            Some(due) => receiver.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn note(&mut self, later: Later) {
        if self.later.len() < REMEMBERED {
            self.later.push(later);
        }
        self.due.get_or_insert_with(|| Instant::now() + LATEST);
        if self.later.len() == MOST {
            self.catch_up();
        }
    }

    fn catch_up(&mut self) {
        if let Err(error) = self.transact(Durable::NeedNotBe, |_, _| Ok(())) {
            log::debug!(target: crate::trace::LOG, "{error}");
        }
    }

    /// Does `work` in one transaction, after what was put off.
    pub fn transact<T>(&mut self, durable: Durable, work: impl FnOnce(&Self, f64) -> rusqlite::Result<T>) -> Result<T> {
        let done = self.try_transact(durable, work);
        if done.is_ok() {
            self.later.clear();
            self.due = None;
        } else if !self.later.is_empty() {
            self.due = Some(Instant::now() + LATEST_AFTER_FAILING);
        }
        done.map_err(|error| file::tell(&self.path, &error))
    }

    fn try_transact<T>(
        &mut self,
        durable: Durable,
        work: impl FnOnce(&Self, f64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        // A clock that does not tell one boot from another can't tell that a power cut took something.
        let mut careful = durable == Durable::Yes || (durable == Durable::Soon && self.era.is_empty());
        loop {
            self.be_careful(careful)?;
            let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
            let (now, synced) = self.now(careful)?;
            if durable == Durable::Soon && !careful && now - synced >= Durable::LOSS {
                careful = true;
                continue;
            }
            for later in &self.later {
                self.apply(later, now)?;
            }
            let done = work(self, now)?;
            transaction.commit()?;
            return Ok(done);
        }
    }

    fn be_careful(&mut self, careful: bool) -> rusqlite::Result<()> {
        if self.careful != careful {
            self.connection.pragma_update(None, "synchronous", if careful { "FULL" } else { "NORMAL" })?;
            self.careful = careful;
        }
        Ok(())
    }

    fn apply(&self, later: &Later, now: f64) -> rusqlite::Result<()> {
        match later {
            Later::Finish(window, ticket) => self.finish(*window, *ticket, now),
            Later::Free(machine_id, ticket) => self.free(machine_id, *ticket),
            Later::LeaveTurn(key, token) => self.leave_turn(key, *token),
        }
    }

    /// The time, and that of the last careful write. Read with the write lock held, so that the next to hold it reads
    /// a later one.
    fn now(&self, careful: bool) -> rusqlite::Result<(f64, f64)> {
        let read = "SELECT era, ahead, last, synced FROM time";
        let (mut steady, synced) = self.connection.prepare_cached(read)?.query_row([], |row| {
            Ok((Steady { era: row.get(0)?, offset: row.get(1)?, last: row.get(2)? }, row.get::<_, f64>(3)?))
        })?;
        let now = match &self.settings.now {
            Some(now) => steady.advance_to(now()),
            None => steady.advance(&machine_clock::read(&self.era)),
        };
        let set = "UPDATE time SET era = ?, ahead = ?, last = ?, synced = ?";
        let at = if careful { now } else { synced };
        self.connection.prepare_cached(set)?.execute((&steady.era, steady.offset, steady.last, at))?;
        Ok((now, synced))
    }
}
