//! The tokio runtime and the delivery thread of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Handle, Runtime};

use super::delivery::DeliveryThread;
use super::memory;
use super::threads::ThreadPlan;
use crate::error::Result;
use crate::python::errors::exited_error;
use crate::python::logging::queue::{LogQueue, set_thread_queue};

const THREADS: ThreadPlan =
    ThreadPlan { name: "mde-live-response", workers: 2, max_blocking: 4, ready_blocking: 4 };

/// The threads that run the core's futures in one process.
pub struct ProcessRuntime {
    pid: u32,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    log_queue: Arc<LogQueue>,
    pub delivery: DeliveryThread,
}

enum RuntimeSlot {
    NotStarted,
    Running(Arc<ProcessRuntime>),
    Finalized,
}

static SLOT: Mutex<RuntimeSlot> = Mutex::new(RuntimeSlot::NotStarted);

fn slot() -> MutexGuard<'static, RuntimeSlot> {
    SLOT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the process's runtime. The first call starts it.
pub fn get_or_start(py: Python<'_>) -> PyResult<Arc<ProcessRuntime>> {
    let mut slot = slot();
    let started = match &*slot {
        RuntimeSlot::Running(process) if process.pid == std::process::id() => Ok(process.clone()),
        RuntimeSlot::Running(_) => {
            return Err(PyRuntimeError::new_err(
                "this process was forked by something other than Python, so it lacks the threads \
                 of mde_live_response: fork with os.fork or multiprocessing, or use the library \
                 in the child only",
            ));
        }
        RuntimeSlot::Finalized => {
            // Making the error runs Python code, which may lose the GIL.
            drop(slot);
            return Err(exited_error(py));
        }
        RuntimeSlot::NotStarted => ProcessRuntime::start().map(|process| {
            let process = Arc::new(process);
            *slot = RuntimeSlot::Running(process.clone());
            process
        }),
    };
    // Without the lock: this runs Python code, which gives the GIL to other threads.
    drop(slot);
    Ok(started?)
}

impl ProcessRuntime {
    fn start() -> Result<Self> {
        memory::check()?;
        let (delivery, log_queue) = DeliveryThread::start()?;
        let thread_queue = log_queue.clone();
        // Without a runtime, nothing was sent to the delivery thread: it stops at once.
        let runtime = THREADS
            .start(move || set_thread_queue(thread_queue.clone()))
            .inspect_err(|_| delivery.stop())?;
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

/// Returns this process's runtime, if it has started.
pub fn running() -> Option<Arc<ProcessRuntime>> {
    match &*slot() {
        RuntimeSlot::Running(process) if process.pid == std::process::id() => Some(process.clone()),
        _ => None,
    }
}

/// Marks the runtime as finalized and returns it, if this process has one.
pub fn take_for_exit() -> Option<Arc<ProcessRuntime>> {
    match std::mem::replace(&mut *slot(), RuntimeSlot::Finalized) {
        RuntimeSlot::Running(process) if process.pid == std::process::id() => Some(process),
        RuntimeSlot::Running(parent_runtime) => {
            // A drop would wait for threads that exist in the parent only.
            std::mem::forget(parent_runtime);
            None
        }
        RuntimeSlot::NotStarted | RuntimeSlot::Finalized => None,
    }
}

/// Abandons the parent's runtime in a forked child. The next call starts a new one.
pub fn forget_after_fork() {
    if let RuntimeSlot::Running(process) = std::mem::replace(&mut *slot(), RuntimeSlot::NotStarted)
    {
        std::mem::forget(process);
    }
}
