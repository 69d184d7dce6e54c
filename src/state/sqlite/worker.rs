//! The one thread that has the file open. Whoever asks sends it a piece of work and waits without a thread of its own.

use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::books::{Books, Durable, Work};
use crate::error::{Error, Result};
use crate::state::lost::unreachable;
use crate::state::store::{Later, Reply, Settings};

pub struct Worker {
    pub path: Arc<PathBuf>,
    settings: Settings,
    hands: Mutex<Hands>,
}

/// What the thread is given to do.
pub enum Piece {
    Work(Work),
    Later(Later),
}

#[derive(Default)]
struct Hands {
    sender: Option<Sender<Piece>>,
    thread: Option<JoinHandle<()>>,
    /// Between `quiesce` and `reopen`.
    resting: bool,
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
            let mut work = Some(Piece::Work(work));
            while let Some(piece) = work.take() {
                work = self.send(piece).await?;
            }
            told.await.map_err(|_| self.gone())?
        })
    }

    /// Gives the work to the thread, or back where there is none for the moment.
    async fn send(&self, work: Piece) -> Result<Option<Piece>> {
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
    pub fn soon(&self, what: Later) {
        if let Some(sender) = &self.hands().sender {
            let _ = sender.send(Piece::Later(what));
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
