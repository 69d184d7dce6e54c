//! The one thread that has the file open. Whoever asks sends it a piece of work and waits without a thread of its own.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::connection::{Durability, StoreConnection, Work};
use crate::error::{Error, Result};
use crate::state::recovery::unavailable_error;
use crate::state::store::{DeferredWrite, Settings, StoreFuture};

pub struct Worker {
    pub path: Arc<PathBuf>,
    settings: Settings,
    worker_thread: Mutex<WorkerThread>,
}

/// What the thread is given to do.
pub enum Job {
    Transaction(Work),
    Deferred(DeferredWrite),
}

#[derive(Default)]
struct WorkerThread {
    sender: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Between `quiesce` and `reopen`.
    paused: bool,
}

impl Worker {
    /// Opens the file; what is wrong with it is told here.
    pub async fn open(path: PathBuf, settings: Settings) -> Result<Self> {
        let worker = Self { path: Arc::new(path), settings, worker_thread: Mutex::default() };
        let opened = worker.start(&mut worker.worker_thread());
        let opened = opened.await.map_err(|_| worker.closed_error())?;
        opened.map(|()| worker)
    }

    fn worker_thread(&self) -> MutexGuard<'_, WorkerThread> {
        self.worker_thread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, worker_thread: &mut WorkerThread) -> oneshot::Receiver<Result<()>> {
        let (sender, receiver) = channel();
        let (reply_sender, reply_receiver) = oneshot::channel();
        let (path, settings) = (self.path.clone(), self.settings.clone());
        let body = move || match StoreConnection::open(path, settings) {
            Ok(db) => {
                let _ = reply_sender.send(Ok(()));
                db.serve(&receiver);
            }
            Err(error) => drop(reply_sender.send(Err(error))),
        };
        let thread = std::thread::Builder::new()
            .name("mde-state".to_owned())
            .stack_size(512 << 10)
            .spawn(body);
        worker_thread.thread = thread.ok();
        worker_thread.sender = Some(sender);
        reply_receiver
    }

    /// Does `work` in one transaction.
    pub fn run<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&StoreConnection, f64) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let (reply_sender, reply_receiver) = oneshot::channel();
        let work: Work = Box::new(move |db| drop(reply_sender.send(db.transact(durability, work))));
        Box::pin(async move {
            let mut work = Some(Job::Transaction(work));
            while let Some(job) = work.take() {
                work = self.send(job).await?;
            }
            reply_receiver.await.map_err(|_| self.closed_error())?
        })
    }

    /// Gives the work to the thread, or back where there is none for the moment.
    async fn send(&self, work: Job) -> Result<Option<Job>> {
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
            None => tokio::time::sleep(Duration::from_millis(2)).await,
        }
        Ok(Some(work))
    }

    /// Soon, and nobody waits for it.
    pub fn defer(&self, what: DeferredWrite) {
        if let Some(sender) = &self.worker_thread().sender {
            let _ = sender.send(Job::Deferred(what));
        }
    }

    pub fn quiesce(&self) {
        let thread = {
            let mut worker_thread = self.worker_thread();
            worker_thread.paused = true;
            worker_thread.sender = None;
            worker_thread.thread.take()
        };
        let _ = thread.map(JoinHandle::join);
    }

    pub fn reopen(&self) {
        let mut worker_thread = self.worker_thread();
        worker_thread.paused = false;
        if worker_thread.sender.is_none() {
            drop(self.start(&mut worker_thread));
        }
    }

    fn closed_error(&self) -> Error {
        unavailable_error(
            format!("the state store {} was closed", self.path.display()),
            "open a new client",
        )
    }
}

impl Drop for Worker {
    /// What was asked for is written before the process goes on.
    fn drop(&mut self) {
        self.quiesce();
    }
}
