//! Hooks that stop the runtime when the interpreter exits and replace it in a forked child.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::interpreters;
use super::process_local::count_fork;
use super::process_runtime::{self, ProcessRuntime};
use crate::python::errors::exited_error;
use crate::python::gil_gate;
use crate::session::posts_in_flight;

/// How long an exit waits for a POST that was sent. Without its response, it is not known
/// whether a session started.
const POST_GRACE: Duration = Duration::from_secs(5);
const LOG_GRACE: Duration = Duration::from_secs(1);
/// How long a fork waits for the log handlers that run.
const FORK_LOG_GRACE: Duration = Duration::from_millis(250);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// How long an exit waits for threads that are on their way out of this library. They need the
/// GIL, for which they wait long on a busy machine.
const GATE_GRACE: Duration = Duration::from_secs(10);

/// The id of this process, updated by forks that Python makes.
static PID: AtomicU32 = AtomicU32::new(0);

/// A call that must be made before the runtime stops.
type LastCall = fn(Python<'_>) -> PyResult<()>;

/// The exit hook.
///
/// Exit handlers run in reverse order, so those that were registered before this one run after
/// it, and may make calls. CPython frees the handlers after the last of them, and before it ends
/// other threads: then the drop of this one stops the runtime.
#[pyclass(frozen, module = "mde_live_response._native")]
struct ExitHook {
    last_call: LastCall,
    called: AtomicBool,
}

/// Registers the exit hook and the fork hooks.
pub fn register(module: &Bound<'_, PyModule>, last_call: LastCall) -> PyResult<()> {
    let py = module.py();
    PID.store(std::process::id(), Ordering::Relaxed);
    let hook = Bound::new(py, ExitHook { last_call, called: AtomicBool::new(false) })?;
    py.import("atexit")?.call_method1("register", (hook,))?;
    let os = py.import("os")?;
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(py);
        hooks.set_item("before", pyo3::wrap_pyfunction!(before_fork, module)?)?;
        hooks.set_item("after_in_parent", pyo3::wrap_pyfunction!(after_in_parent, module)?)?;
        hooks.set_item("after_in_child", pyo3::wrap_pyfunction!(after_in_child, module)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}

#[pymethods]
impl ExitHook {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        // A fork that did not go through Python has not run `after_in_child`.
        if PID.load(Ordering::Relaxed) != std::process::id() {
            gil_gate::reopen();
        }
        self.called.store(true, Ordering::Relaxed);
        (self.last_call)(py)?;
        process_runtime::running().map_or(Ok(()), |process| finish_calls(py, &process))
    }
}

impl Drop for ExitHook {
    fn drop(&mut self) {
        // `atexit._clear()` drops it, too, before it was called.
        if self.called.load(Ordering::Relaxed) {
            gil_gate::with_python_in_drop(|py| match interpreters::is_main(py) {
                true => (self.last_call)(py).and(stop(py)),
                // The other interpreters continue to use the runtime.
                false => Ok(()),
            });
        }
    }
}

/// Waits for what the caller would miss: POSTs in flight and log records.
fn finish_calls(py: Python<'_>, process: &ProcessRuntime) -> PyResult<()> {
    let _inside = gil_gate::enter(py);
    let interrupted = wait_for_posts(py);
    gil_gate::detach(py, || process.log_queue().flush(LOG_GRACE));
    if interpreters::is_main(py) {
        let remaining = process.log_queue().take_remaining();
        if !remaining.is_empty() {
            py.import("mde_live_response._log_delivery")?.call_method1("deliver", (remaining,))?;
        }
    }
    interrupted
}

/// Stops the runtime. From here on, no call can start.
fn stop(py: Python<'_>) -> PyResult<()> {
    drop(exited_error(py));
    let Some(process) = process_runtime::take_for_exit() else {
        gil_gate::detach(py, || gil_gate::close(GATE_GRACE));
        return Ok(());
    };
    let finished = finish_calls(py, &process);
    gil_gate::detach(py, || {
        // In this order: no thread returns to Python any more, then the tasks stop, and only
        // then the queue and the delivery thread that they use.
        gil_gate::close(GATE_GRACE);
        if let Some(runtime) = process.take_runtime() {
            runtime.shutdown_timeout(SHUTDOWN_GRACE);
        }
        process.log_queue().close();
        process.delivery.stop();
    });
    finished
}

/// Waits until no POST is in flight, the time is up, or Ctrl-C is pressed.
fn wait_for_posts(py: Python<'_>) -> PyResult<()> {
    let started = Instant::now();
    while posts_in_flight() > 0 && started.elapsed() < POST_GRACE {
        gil_gate::detach(py, || std::thread::sleep(Duration::from_millis(5)));
        py.check_signals()?;
    }
    Ok(())
}

#[pyfunction]
fn before_fork(py: Python<'_>) {
    if let Some(process) = process_runtime::running() {
        gil_gate::detach(py, || process.log_queue().pause(FORK_LOG_GRACE));
    }
}

#[pyfunction]
fn after_in_parent() {
    if let Some(process) = process_runtime::running() {
        process.log_queue().resume();
    }
}

#[pyfunction]
fn after_in_child() {
    count_fork();
    PID.store(std::process::id(), Ordering::Relaxed);
    gil_gate::reopen();
    process_runtime::forget_after_fork();
    crate::session::reset_posts_in_flight();
}
