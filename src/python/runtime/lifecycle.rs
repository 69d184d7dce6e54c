//! How the runtime ends with the interpreter, and what a fork does to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{gate, process};
use crate::session::posts_under_way;

/// How long an exit waits for a POST that is on the wire: its outcome is worth more than a moment.
const POST_GRACE: Duration = Duration::from_secs(5);
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Counts the forks that led to this process: what belongs to an earlier count is the parent's.
static GENERATION: AtomicU64 = AtomicU64::new(0);

pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Hooks into the interpreter's end and into its forks.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
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
fn at_exit(py: Python<'_>) {
    let ended = process::end();
    py.detach(|| {
        let Some(process) = ended else { return gate::close() };
        let waited = std::time::Instant::now();
        while posts_under_way() > 0 && waited.elapsed() < POST_GRACE {
            std::thread::sleep(Duration::from_millis(5));
        }
        gate::close();
        if let Some(runtime) = process.take_runtime() {
            runtime.shutdown_timeout(SHUTDOWN);
        }
        process.delivery.stop();
    });
}

#[pyfunction]
fn after_in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    gate::reopen();
    process::abandon();
    crate::session::forget_posts();
}
