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
    pub fn start(&self, on_start: impl Fn() + Send + Sync + 'static) -> Result<Runtime> {
        let refused = |error| Error::no_threads(self.name, error);
        let count = self.workers + self.ready_blocking;
        reserve(count).map_err(refused)?;
        let (started, starts) = channel();
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(self.workers)
            .max_blocking_threads(self.max_blocking)
            .thread_keep_alive(KEEP_ALIVE)
            .thread_name(self.name)
            .on_thread_start(move || {
                on_start();
                // The send fails once nobody counts any more.
                let _ = started.send(());
            })
            .enable_all();
        // tokio panics if another process has taken the threads since.
        let runtime = catch_unwind(AssertUnwindSafe(|| builder.build()))
            .unwrap_or_else(|_| Err(std::io::ErrorKind::WouldBlock.into()))
            .map_err(refused)?;
        if start_all(&runtime, self.ready_blocking, count, &starts) {
            Ok(runtime)
        } else {
            runtime.shutdown_background();
            Err(refused(std::io::ErrorKind::WouldBlock.into()))
        }
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
    let spawned = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..blocking {
            let gate = gate.clone();
            drop(runtime.spawn_blocking(move || drop(gate.lock())));
        }
    }));
    let until = Instant::now() + START_TIMEOUT;
    let has_started = || {
        while starts.recv_timeout(START_CHECK).is_err() {
            if Instant::now() > until || reserve(1).is_err() {
                return false;
            }
        }
        true
    };
    spawned.is_ok() && (0..count).all(|_| has_started())
}
