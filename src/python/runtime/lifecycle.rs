//! How the runtime ends with the interpreter, and what a fork does to it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{gil_gate, process_runtime};
use crate::session::posts_in_flight;

/// How long an exit waits for a POST that is on the wire: its outcome is worth more than a moment.
const POST_GRACE: Duration = Duration::from_secs(5);
const LOG_GRACE: Duration = Duration::from_secs(1);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

static FORK_COUNT: AtomicU32 = AtomicU32::new(0);
/// The process as Python's own forks know it.
static PID: AtomicU32 = AtomicU32::new(0);

/// Names this process among those that forks made of it: what bears another name is the parent's.
fn generation() -> u64 {
    // A fork that Python did not make is not counted, but has an id of its own.
    u64::from(FORK_COUNT.load(Ordering::Relaxed)) << 32 | u64::from(std::process::id())
}

/// A value of the process that made it. In a forked child, whose copy's locks may be held and whose threads are gone, it is
/// neither used nor dropped.
pub struct ProcessLocal<T> {
    generation: u64,
    value: Option<T>,
}

impl<T> ProcessLocal<T> {
    pub fn new(value: T) -> Self {
        Self { generation: generation(), value: Some(value) }
    }

    /// None in a forked child.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.generation == generation())
    }

    /// None in a forked child.
    pub fn into_inner(mut self) -> Option<T> {
        if self.generation == generation() { self.value.take() } else { None }
    }
}

impl<T> Drop for ProcessLocal<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            std::mem::forget(self.value.take());
        }
    }
}

/// Does what a Drop has to do in Python, unless the interpreter is gone. An exception may be on its way up meanwhile, and is
/// put aside: Python cannot be called with one set.
pub fn with_python_in_drop(act: impl FnOnce(Python<'_>) -> PyResult<()>) {
    Python::try_attach(|py| {
        let pending_exception = PyErr::take(py);
        if let Err(error) = act(py) {
            error.write_unraisable(py, None);
        }
        if let Some(error) = pending_exception {
            error.restore(py);
        }
    });
}

/// Hooks into the interpreter's end and into its forks.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    PID.store(std::process::id(), Ordering::Relaxed);
    py.import("atexit")?.call_method1("register", (pyo3::wrap_pyfunction!(at_exit, module)?,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(py);
        hooks.set_item("after_in_child", pyo3::wrap_pyfunction!(after_in_child, module)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}

#[pyfunction]
fn at_exit(py: Python<'_>) -> PyResult<()> {
    if PID.load(Ordering::Relaxed) != std::process::id() {
        gil_gate::reopen();
    }
    let Some(process) = process_runtime::take_for_exit() else {
        py.detach(gil_gate::close);
        return Ok(());
    };
    let interrupted = wait_for_posts(py);
    py.detach(|| process.log_queue().flush(LOG_GRACE));
    let left = process.log_queue().take_remaining();
    if !left.is_empty() {
        // No thread could be started for them any more.
        py.import("mde_live_response._log_delivery")?.call_method1("deliver", (left,))?;
    }
    py.detach(|| {
        gil_gate::close();
        if let Some(runtime) = process.take_runtime() {
            runtime.shutdown_timeout(SHUTDOWN_GRACE);
        }
        process.log_queue().close();
        process.delivery.stop();
    });
    interrupted
}

/// Until no POST is under way, or time is up, or somebody presses Ctrl-C.
fn wait_for_posts(py: Python<'_>) -> PyResult<()> {
    let started = Instant::now();
    while posts_in_flight() > 0 && started.elapsed() < POST_GRACE {
        py.detach(|| std::thread::sleep(Duration::from_millis(5)));
        py.check_signals()?;
    }
    Ok(())
}

#[pyfunction]
fn after_in_child() {
    FORK_COUNT.fetch_add(1, Ordering::Relaxed);
    PID.store(std::process::id(), Ordering::Relaxed);
    gil_gate::reopen();
    process_runtime::forget_after_fork();
    crate::session::reset_posts_in_flight();
}
