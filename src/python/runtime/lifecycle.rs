//! Hooks that stop the runtime when the interpreter exits and replace it in a forked child.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::interpreters;
use super::process_local::count_fork;
use super::process_runtime;
use crate::python::gil_gate;
use crate::session::posts_in_flight;

/// How long an exit waits for a POST that was sent. Without its response, it is not known
/// whether a session started.
const POST_GRACE: Duration = Duration::from_secs(5);
const LOG_GRACE: Duration = Duration::from_secs(1);
/// How long a fork waits for the log handlers that run.
const FORK_LOG_GRACE: Duration = Duration::from_millis(250);
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// The id of this process, updated by forks that Python makes.
static PID: AtomicU32 = AtomicU32::new(0);

/// Registers the exit hook and the fork hook.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    PID.store(std::process::id(), Ordering::Relaxed);
    py.import("atexit")?.call_method1("register", (pyo3::wrap_pyfunction!(at_exit, module)?,))?;
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

#[pyfunction]
fn at_exit(py: Python<'_>) -> PyResult<()> {
    // A fork that did not go through Python has not run `after_in_child`.
    if PID.load(Ordering::Relaxed) != std::process::id() {
        gil_gate::reopen();
    }
    if !interpreters::is_main(py) {
        return end_sub_interpreter(py);
    }
    // From here on, no call can start.
    let Some(process) = process_runtime::take_for_exit() else {
        py.detach(gil_gate::close);
        return Ok(());
    };
    let interrupted = wait_for_posts(py);
    py.detach(|| process.log_queue().flush(LOG_GRACE));
    let remaining = process.log_queue().take_remaining();
    if !remaining.is_empty() {
        // A thread can no longer be started for them.
        py.import("mde_live_response._log_delivery")?.call_method1("deliver", (remaining,))?;
    }
    py.detach(|| {
        // In this order: no thread returns to Python any more, then the tasks stop, and only
        // then the queue and the delivery thread that they use.
        gil_gate::close();
        if let Some(runtime) = process.take_runtime() {
            runtime.shutdown_timeout(SHUTDOWN_GRACE);
        }
        process.log_queue().close();
        process.delivery.stop();
    });
    interrupted
}

/// Ends a sub-interpreter. The others continue to use the runtime.
fn end_sub_interpreter(py: Python<'_>) -> PyResult<()> {
    let Some(process) = process_runtime::running() else { return Ok(()) };
    let interrupted = wait_for_posts(py);
    py.detach(|| process.log_queue().flush(LOG_GRACE));
    interrupted
}

/// Waits until no POST is in flight, the time is up, or Ctrl-C is pressed.
fn wait_for_posts(py: Python<'_>) -> PyResult<()> {
    let started = Instant::now();
    while posts_in_flight() > 0 && started.elapsed() < POST_GRACE {
        py.detach(|| std::thread::sleep(Duration::from_millis(5)));
        py.check_signals()?;
    }
    Ok(())
}

#[pyfunction]
fn before_fork(py: Python<'_>) {
    if let Some(process) = process_runtime::running() {
        py.detach(|| process.log_queue().pause(FORK_LOG_GRACE));
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
