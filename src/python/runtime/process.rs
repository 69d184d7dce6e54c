//! The tokio runtime and the delivery thread of this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use super::delivery::Delivery;
use super::mailbox::{self, Mailbox};

const WORKERS: usize = 2;
const BLOCKING_THREADS: usize = 4;

/// What runs the core's futures in one process.
pub struct Process {
    pid: u32,
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    mailbox: Arc<Mailbox>,
    pub delivery: Delivery,
}

enum Slot {
    Unused,
    Running(Arc<Process>),
    Ended,
}

static SLOT: Mutex<Slot> = Mutex::new(Slot::Unused);

fn slot() -> MutexGuard<'static, Slot> {
    SLOT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process's runtime, started when first asked for.
pub fn runtime(_gil: Python<'_>) -> PyResult<Arc<Process>> {
    let mut slot = slot();
    match &*slot {
        Slot::Running(process) if process.pid == std::process::id() => Ok(process.clone()),
        Slot::Running(_) => Err(PyRuntimeError::new_err(
            "this process was forked by something other than Python, and the threads of mde_live_response are not in it: \
             fork by os.fork or multiprocessing, or use the library in the child only",
        )),
        Slot::Ended => {
            Err(PyRuntimeError::new_err("the interpreter is shutting down: no call can be started any more"))
        }
        Slot::Unused => {
            let process = Arc::new(Process::start()?);
            *slot = Slot::Running(process.clone());
            Ok(process)
        }
    }
}

impl Process {
    fn start() -> PyResult<Self> {
        let (delivery, mailbox) = Delivery::start()?;
        let of_threads = mailbox.clone();
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("mde-live-response")
            .on_thread_start(move || mailbox::adopt(of_threads.clone()))
            .enable_io()
            .enable_time()
            .build()
            .map_err(|error| {
                PyRuntimeError::new_err(format!("could not start the threads of mde_live_response: {error}"))
            })?;
        let handle = runtime.handle().clone();
        Ok(Self { pid: std::process::id(), handle, runtime: Mutex::new(Some(runtime)), mailbox, delivery })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub fn take_runtime(&self) -> Option<Runtime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Ends the slot for good, and hands over what ran in it.
pub fn end() -> Option<Arc<Process>> {
    match std::mem::replace(&mut *slot(), Slot::Ended) {
        Slot::Running(process) if process.pid == std::process::id() => Some(process),
        Slot::Running(parents) => {
            // Dropped here, it would wait for threads that are the parent's.
            std::mem::forget(parents);
            None
        }
        Slot::Unused | Slot::Ended => None,
    }
}

/// In a forked child: leaves the parent's runtime alone, whose threads are not here, and starts anew when asked.
pub fn abandon() {
    if let Slot::Running(process) = std::mem::replace(&mut *slot(), Slot::Unused) {
        std::mem::forget(process);
    }
}
