//! Starts a tokio runtime together with the threads that it needs.
//!
//! tokio starts threads on demand. If the system refuses one, tokio panics, or the task waits for
//! ever for a thread that never comes. So the threads are started first, and then kept.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, Result};

/// How often it is asked whether the system refuses threads, while they have not all started.
const START_CHECK: Duration = Duration::from_millis(300);
/// How long threads that the system grants may take to start. It may be busy.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Longer than any process runs: a thread that ended might not be granted again.
const KEEP_ALIVE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Attempts to build a runtime. One that takes long may be stuck, or the system is busy.
const BUILD_ATTEMPTS: u32 = 3;

type OnStart = Arc<dyn Fn() + Send + Sync>;

/// A runtime, and a message for each of its threads that runs.
struct Started {
    runtime: Runtime,
    starts: Receiver<()>,
}

/// The threads of a runtime.
pub struct ThreadPlan {
    pub name: &'static str,
    pub workers: usize,
    /// The most threads for blocking work.
    pub max_blocking: usize,
    /// The threads for blocking work that are started with the runtime.
    pub ready_blocking: usize,
}

impl ThreadPlan {
    /// Starts the runtime. It is an `OSError` if the system refuses a thread.
    pub fn start(&'static self, on_start: impl Fn() + Send + Sync + 'static) -> Result<Runtime> {
        let refused = |error| Error::no_threads(self.name, error);
        let count = self.workers + self.ready_blocking;
        reserve(count).map_err(refused)?;
        let Started { runtime, starts } = self.build(Arc::new(on_start)).map_err(refused)?;
        if start_all(&runtime, self.ready_blocking, count, &starts) {
            Ok(runtime)
        } else {
            runtime.shutdown_background();
            Err(refused(std::io::ErrorKind::WouldBlock.into()))
        }
    }

    /// Builds the runtime, which starts its workers.
    ///
    /// If the system refuses a worker, tokio panics, and then may wait for ever for another worker
    /// that it has started. So each attempt has a thread of its own, which may stay behind.
    fn build(&'static self, on_start: OnStart) -> std::io::Result<Started> {
        let (sender, results) = channel();
        let until = Instant::now() + START_TIMEOUT;
        for attempt in 1.. {
            if attempt <= BUILD_ATTEMPTS {
                let (sender, on_start) = (sender.clone(), on_start.clone());
                std::thread::Builder::new().name(self.name.to_owned()).spawn(move || {
                    let built = catch_unwind(AssertUnwindSafe(|| self.try_build(on_start)));
                    let _ = sender
                        .send(built.unwrap_or_else(|_| Err(std::io::ErrorKind::WouldBlock.into())));
                })?;
            }
            match results.recv_timeout(START_CHECK) {
                Ok(built) => return built,
                Err(_) if Instant::now() > until => break,
                Err(_) => reserve(1)?,
            }
        }
        Err(std::io::ErrorKind::WouldBlock.into())
    }

    fn try_build(&self, on_start: OnStart) -> std::io::Result<Started> {
        let (started, starts) = channel();
        let runtime = Builder::new_multi_thread()
            .worker_threads(self.workers)
            .max_blocking_threads(self.max_blocking)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name(self.name)
            .on_thread_start(move || {
                on_start();
                // The send fails once nobody counts any more.
                let _ = started.send(());
            })
            .enable_all()
            .build()?;
        Ok(Started { runtime, starts })
    }
}

/// Checks that `count` threads can run at the same time.
fn reserve(count: usize) -> std::io::Result<()> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut threads = Vec::new();
    let mut outcome = Ok(());
    for _ in 0..count {
        let gate = gate.clone();
        match std::thread::Builder::new().spawn(move || drop(gate.lock())) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    drop(closed);
    for thread in threads {
        let _ = thread.join();
    }
    outcome
}

/// Starts the threads for blocking work. Returns whether all `count` threads run.
fn start_all(runtime: &Runtime, blocking: usize, count: usize, starts: &Receiver<()>) -> bool {
    let gate = Arc::new(Mutex::new(()));
    // Each task holds its thread until all run: else one thread would do the work of several.
    let _closed = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let start_thread = || {
        let gate = gate.clone();
        let spawning = || drop(runtime.spawn_blocking(move || drop(gate.lock())));
        catch_unwind(AssertUnwindSafe(spawning)).is_ok()
    };
    let until = Instant::now() + START_TIMEOUT;
    let has_started = || {
        while starts.recv_timeout(START_CHECK).is_err() {
            // If the system refuses a thread, tokio leaves its task to the others, and asks again
            // only for another task.
            if Instant::now() > until || reserve(1).is_err() || !start_thread() {
                return false;
            }
        }
        true
    };
    (0..blocking).all(|_| start_thread()) && (0..count).all(|_| has_started())
}
