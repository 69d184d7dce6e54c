//! The one thread that has the file open. Whoever asks sends it a piece of work and waits without a thread of its own.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;

use super::file;
use super::machine_clock;
use crate::error::{Error, Result};
use crate::state::lost::unreachable;
use crate::state::steady::Steady;
use crate::state::store::{Reply, Settings};

type Work = Box<dyn FnOnce(&mut Books) + Send>;

pub struct Worker {
    pub path: Arc<PathBuf>,
    settings: Settings,
    hands: Mutex<Hands>,
}

#[derive(Default)]
struct Hands {
    sender: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    /// Between `quiesce` and `reopen`.
    resting: bool,
}

/// What the thread holds.
pub struct Books {
    pub connection: Connection,
    pub settings: Settings,
    pub quota: i64,
    era: String,
    path: Arc<PathBuf>,
    careful: bool,
}

/// Whether a power cut may take back what was written. A killed process never takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    Yes,
    /// Losing it makes nothing less strict.
    NeedNotBe,
}

impl Worker {
    /// Opens the file; what is wrong with it is told here.
    pub async fn open(path: PathBuf, settings: Settings) -> Result<Self> {
        let worker = Self { path: Arc::new(path), settings, hands: Mutex::default() };
        let opened = worker.start(&mut worker.hands());
        let opened = opened.await.map_err(|_| worker.gone())?;
        opened.map(|()| worker)
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, hands: &mut Hands) -> oneshot::Receiver<Result<()>> {
        let (sender, receiver) = channel();
        let (tell, told) = oneshot::channel();
        let (path, settings) = (self.path.clone(), self.settings.clone());
        let body = move || match Books::open(path, settings) {
            Ok(books) => {
                let _ = tell.send(Ok(()));
                books.serve(&receiver);
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        let thread = std::thread::Builder::new().name("mde-state".to_owned()).stack_size(512 << 10).spawn(body);
        hands.thread = thread.ok();
        hands.sender = Some(sender);
        told
    }

    /// Does `work` in one transaction.
    pub fn run<T: Send + 'static>(
        &self,
        durable: Durable,
        work: impl FnOnce(&Books, f64) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'_, T> {
        let (tell, told) = oneshot::channel();
        let work: Work = Box::new(move |books| drop(tell.send(books.transact(durable, work))));
        Box::pin(async move {
            let mut work = Some(work);
            while let Some(piece) = work.take() {
                work = self.send(piece).await?;
            }
            told.await.map_err(|_| self.gone())?
        })
    }

    /// Gives the work to the thread, or back where there is none for the moment.
    async fn send(&self, work: Work) -> Result<Option<Work>> {
        let restarted = {
            let mut hands = self.hands();
            match &hands.sender {
                Some(sender) => match sender.send(work) {
                    Ok(()) => return Ok(None),
                    Err(returned) => {
                        hands.sender = None;
                        return Ok(Some(returned.0));
                    }
                },
                None if hands.resting => None,
                None => Some(self.start(&mut hands)),
            }
        };
        match restarted {
            Some(opened) => opened.await.map_err(|_| self.gone())??,
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
        Ok(Some(work))
    }

    /// Soon, and nobody waits for it.
    pub fn soon(&self, work: impl FnOnce(&Books, f64) -> rusqlite::Result<()> + Send + 'static) {
        let work: Work = Box::new(move |books| {
            if let Err(error) = books.transact(Durable::NeedNotBe, work) {
                log::debug!(target: crate::pipeline::LOG, "{error}");
            }
        });
        if let Some(sender) = &self.hands().sender {
            let _ = sender.send(work);
        }
    }

    pub fn quiesce(&self) {
        let thread = {
            let mut hands = self.hands();
            hands.resting = true;
            hands.sender = None;
            hands.thread.take()
        };
        let _ = thread.map(JoinHandle::join);
    }

    pub fn reopen(&self) {
        let mut hands = self.hands();
        hands.resting = false;
        if hands.sender.is_none() {
            drop(self.start(&mut hands));
        }
    }

    fn gone(&self) -> Error {
        unreachable(format!("the state store {} was closed", self.path.display()), "open a new client")
    }
}

impl Drop for Worker {
    /// What was asked for is written before the process goes on.
    fn drop(&mut self) {
        self.quiesce();
    }
}

impl Books {
    fn open(path: Arc<PathBuf>, settings: Settings) -> Result<Self> {
        let connection = file::open(&path, settings.patience, settings.max_pages)?;
        let era = machine_clock::era();
        let mut books = Self { connection, settings, quota: 0, era, path, careful: true };
        books.quota = books.transact(Durable::Yes, |books, _| books.quota_id())?;
        Ok(books)
    }

    fn serve(mut self, receiver: &Receiver<Work>) {
        while let Ok(work) = receiver.recv() {
            work(&mut self);
        }
    }

    fn quota_id(&self) -> rusqlite::Result<i64> {
        let key = &self.settings.key;
        let parts = [&key.host, &key.tenant, &key.application];
        self.connection
            .execute("INSERT INTO quotas (host, tenant, application) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", parts)?;
        let find = "SELECT id FROM quotas WHERE host = ? AND tenant = ? AND application = ?";
        self.connection.query_row(find, parts, |row| row.get(0))
    }

    fn transact<T>(&mut self, durable: Durable, work: impl FnOnce(&Self, f64) -> rusqlite::Result<T>) -> Result<T> {
        let path = self.path.clone();
        self.try_transact(durable, work).map_err(|error| file::tell(&path, &error))
    }

    fn try_transact<T>(
        &mut self,
        durable: Durable,
        work: impl FnOnce(&Self, f64) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let careful = durable == Durable::Yes;
        if self.careful != careful {
            self.connection.pragma_update(None, "synchronous", if careful { "FULL" } else { "NORMAL" })?;
            self.careful = careful;
        }
        let transaction = rusqlite::Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let now = self.now()?;
        let done = work(self, now)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Read with the write lock held, so that the next to hold it reads a later one.
    fn now(&self) -> rusqlite::Result<f64> {
        let mut steady = self
            .connection
            .prepare_cached("SELECT era, ahead, last FROM time")?
            .query_row([], |row| Ok(Steady { era: row.get(0)?, offset: row.get(1)?, last: row.get(2)? }))?;
        let now = match &self.settings.now {
            Some(now) => steady.advance_to(now()),
            None => steady.advance(&machine_clock::read(&self.era)),
        };
        let set = "UPDATE time SET era = ?, ahead = ?, last = ?";
        self.connection.prepare_cached(set)?.execute((&steady.era, steady.offset, steady.last))?;
        Ok(now)
    }
}
