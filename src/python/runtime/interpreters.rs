//! Interpreters of one process: the main one, and sub-interpreters such as those of mod_wsgi.
//!
//! All legacy sub-interpreters share the GIL and this process's runtime. The main interpreter
//! ends last, and only its end stops the runtime. Isolated sub-interpreters are refused: CPython
//! 3.12 and later refuses them itself.

use std::time::{Duration, Instant};

use pyo3::exceptions::{PyImportError, PyRuntimeError};
use pyo3::prelude::*;

/// How long the import waits for a thread that does nothing.
const THREAD_END_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns whether the caller runs in the main interpreter.
#[allow(unsafe_code, reason = "pyo3 has no safe function for the current interpreter")]
pub fn is_main(_gil: Python<'_>) -> bool {
    // SAFETY: `_gil` proves that the thread is attached to an interpreter.
    let id = unsafe {
        let interpreter = pyo3::ffi::PyInterpreterState_Get();
        pyo3::ffi::PyInterpreterState_GetID(interpreter)
    };
    id == 0
}

/// Raises ImportError in an isolated sub-interpreter. Call it when the module is imported.
pub fn refuse_isolated(py: Python<'_>) -> PyResult<()> {
    if is_main(py) || py.version_info() >= (3, 12) {
        return Ok(());
    }
    // CPython before 3.12 has no other sign: an isolated interpreter starts no threads.
    let threads = py.import("_thread")?;
    let count = || threads.call_method0("_count")?.extract::<usize>();
    let before = count()?;
    let bool_type = py.get_type::<pyo3::types::PyBool>();
    match threads.call_method1("start_new_thread", (bool_type, ())) {
        // An interpreter that ends aborts the process if it still has a thread.
        Ok(_) => {
            let until = Instant::now() + THREAD_END_TIMEOUT;
            while count()? > before && Instant::now() < until {
                py.detach(|| std::thread::sleep(Duration::from_micros(200)));
            }
            Ok(())
        }
        Err(error)
            if error.is_instance_of::<PyRuntimeError>(py)
                && error.value(py).to_string().contains("isolated") =>
        {
            Err(PyImportError::new_err(
                "module mde_live_response._native does not support loading in isolated \
                 subinterpreters",
            ))
        }
        // Another failure, such as too many threads, is reported when a call needs a thread.
        _ => Ok(()),
    }
}
