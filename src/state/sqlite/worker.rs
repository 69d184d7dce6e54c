//! The thread that owns the open file. Callers send it jobs and await the answer.
//!
//! SQLite blocks, so it must not run on the threads of the async runtime.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::connection::{Durability, StoreConnection, Transact, WorkerJob};
use super::identity::SeenTime;
use crate::error::{Error, Result};
use crate::state::StoreFuture;
use crate::state::settings::StoreSettings;
use crate::state::store::DeferredWrite;
use crate::state::store_error::unavailable_error;

pub struct Worker {
    pub path: Arc<PathBuf>,
    settings: StoreSettings,
    seen: Arc<SeenTime>,
    worker_thread: Mutex<WorkerThread>,
}

#[derive(Default)]
struct WorkerThread {
    sender: Option<Sender<WorkerJob>>,
    thread: Option<JoinHandle<()>>,
    /// True between `quiesce` and `reopen`.
    paused: bool,
}

impl Worker {
    /// Starts the thread and opens the file. Fails if the file can't be used.
    pub async fn open(path: PathBuf, settings: StoreSettings) -> Result<Self> {
        let worker = Self {
            path: Arc::new(path),
            settings,
            seen: Arc::default(),
            worker_thread: Mutex::default(),
        };
        let opened = worker.start(&mut worker.worker_thread());
        let opened = opened.await.map_err(|_| worker.closed_error())?;
        opened.map(|()| worker)
    }

    fn worker_thread(&self) -> MutexGuard<'_, WorkerThread> {
        self.worker_thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread. The receiver yields the result of opening the file.
    fn start(&self, worker_thread: &mut WorkerThread) -> oneshot::Receiver<Result<()>> {
        let (sender, receiver) = channel();
        let (reply_sender, reply_receiver) = oneshot::channel();
        let (path, settings, seen) = (self.path.clone(), self.settings.clone(), self.seen.clone());
        let body = move || match StoreConnection::open(path, settings, seen) {
            Ok(db) => {
                let _ = reply_sender.send(Ok(()));
                db.serve(&receiver);
            }
            Err(error) => drop(reply_sender.send(Err(error))),
        };
        let thread = std::thread::Builder::new()
            .name("mde-state".to_owned())
            // SQLite needs far less stack than the default of 2 MiB.
            .stack_size(512 << 10)
            .spawn(body);
        worker_thread.sender = Some(sender);
        match thread {
            Ok(thread) => {
                worker_thread.thread = Some(thread);
                reply_receiver
            }
            Err(error) => {
                let (refusal, refused) = oneshot::channel();
                let _ = refusal.send(Err(Error::no_threads("the state store", error)));
                refused
            }
        }
    }

    /// Runs `work` in one transaction on the thread.
    pub fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&StoreConnection, f64) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let (reply_sender, reply_receiver) = oneshot::channel();
        let work: Transact =
            Box::new(move |db| drop(reply_sender.send(db.transact(durability, work))));
        Box::pin(async move {
            // A fork may close the thread at any time: the job comes back and is sent again.
            let mut work = Some(WorkerJob::Transaction(work));
            while let Some(job) = work.take() {
                work = self.send(job).await?;
            }
            reply_receiver.await.map_err(|_| self.closed_error())?
        })
    }

    /// Sends the job to the thread. Returns the job if there is no thread now.
    async fn send(&self, work: WorkerJob) -> Result<Option<WorkerJob>> {
        let restarted = {
            let mut worker_thread = self.worker_thread();
            match &worker_thread.sender {
                Some(sender) => match sender.send(work) {
                    Ok(()) => return Ok(None),
                    Err(returned) => {
                        worker_thread.sender = None;
                        return Ok(Some(returned.0));
                    }
                },
                None if worker_thread.paused => None,
                None => Some(self.start(&mut worker_thread)),
            }
        };
        match restarted {
            Some(opened) => opened.await.map_err(|_| self.closed_error())??,
            // A fork is in progress, which takes a moment.
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
        Ok(Some(work))
    }

    /// Queues a write that nobody waits for.
    pub fn defer(&self, what: DeferredWrite) {
        if let Some(sender) = &self.worker_thread().sender {
            let _ = sender.send(WorkerJob::Deferred(what, Instant::now()));
        }
    }

    /// Stops the thread and closes the file.
    pub fn quiesce(&self) {
        let thread = {
            let mut worker_thread = self.worker_thread();
            worker_thread.paused = true;
            worker_thread.sender = None;
            worker_thread.thread.take()
        };
        // Without a sender the thread ends. After the join, the file is closed.
        let _ = thread.map(JoinHandle::join);
    }

    /// Starts the thread again.
    pub fn reopen(&self) {
        let mut worker_thread = self.worker_thread();
        worker_thread.paused = false;
        if worker_thread.sender.is_none() {
            // If opening fails, the next job starts the thread again and gets the error.
            drop(self.start(&mut worker_thread));
        }
    }

    fn closed_error(&self) -> Error {
        unavailable_error(
            format!("the state store {} is closed", self.path.display()),
            "open a new client",
        )
    }
}

impl Drop for Worker {
    /// Writes everything that is queued before it returns.
    fn drop(&mut self) {
        self.quiesce();
    }
}
