//! The tokio runtime and the delivery thread of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use super::delivery::DeliveryThread;
use super::log_queue::{self, LogQueue};

const WORKER_THREADS: usize = 2;
const BLOCKING_THREADS: usize = 4;

/// What runs the core's futures in one process.
pub struct ProcessRuntime {
    pid: u32,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    log_queue: Arc<LogQueue>,
    pub delivery: DeliveryThread,
}

enum Slot {
    NotStarted,
    Running(Arc<ProcessRuntime>),
    Finalized,
}

static SLOT: Mutex<Slot> = Mutex::new(Slot::NotStarted);

fn slot() -> MutexGuard<'static, Slot> {
    SLOT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's runtime, started when first asked for.
pub fn get_or_start(_gil: Python<'_>) -> PyResult<Arc<ProcessRuntime>> {
    let mut slot = slot();
    match &*slot {
        Slot::Running(process) if process.pid == std::process::id() => Ok(process.clone()),
        Slot::Running(_) => Err(PyRuntimeError::new_err(
            "this process was forked by something other than Python, and the threads of mde_live_response are not in it: \
             fork by os.fork or multiprocessing, or use the library in the child only",
        )),
        Slot::Finalized => Err(PyRuntimeError::new_err(
            "the interpreter is shutting down: no call can be started any more",
        )),
        Slot::NotStarted => {
            let process = Arc::new(ProcessRuntime::start()?);
            *slot = Slot::Running(process.clone());
            Ok(process)
        }
    }
}

impl ProcessRuntime {
    fn start() -> PyResult<Self> {
        let (delivery, log_queue) = DeliveryThread::start()?;
        let thread_queue = log_queue.clone();
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("mde-live-response")
            .on_thread_start(move || log_queue::set_thread_queue(thread_queue.clone()))
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| {
                PyRuntimeError::new_err(format!(
                    "could not start the threads of mde_live_response: {error}"
                ))
            })?;
        let handle = runtime.handle().clone();
        Ok(Self {
            pid: std::process::id(),
            handle,
            runtime: Mutex::new(Some(runtime)),
            log_queue,
            delivery,
        })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn log_queue(&self) -> &Arc<LogQueue> {
        &self.log_queue
    }

    pub fn take_runtime(&self) -> Option<Runtime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Ends the slot for good, and hands over what ran in it.
pub fn take_for_exit() -> Option<Arc<ProcessRuntime>> {
    match std::mem::replace(&mut *slot(), Slot::Finalized) {
        Slot::Running(process) if process.pid == std::process::id() => Some(process),
        Slot::Running(parent_runtime) => {
            // Dropped here, it would wait for threads that are the parent's.
            std::mem::forget(parent_runtime);
            None
        }
        Slot::NotStarted | Slot::Finalized => None,
    }
}

/// In a forked child: leaves the parent's runtime alone, whose threads are not here, and starts anew when asked.
pub fn forget_after_fork() {
    if let Slot::Running(process) = std::mem::replace(&mut *slot(), Slot::NotStarted) {
        std::mem::forget(process);
    }
}
