//! Interpreters of one process: the main one, and sub-interpreters such as those of mod_wsgi.
//!
//! All legacy sub-interpreters share the GIL and this process's runtime. The main interpreter
//! ends last, and only its end stops the runtime. Isolated sub-interpreters are refused: CPython
//! 3.12 and later refuses them itself.

use pyo3::exceptions::{PyImportError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::python::gil_gate::enter;

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
    // CPython before 3.12 has no other sign: an isolated interpreter starts no threads. The thread
    // is joined, since an interpreter that ends with a thread aborts the process.
    let _inside = enter(py);
    let thread_type = py.import("threading")?.getattr("Thread")?;
    let thread = thread_type.call1((py.None(), py.get_type::<PyBool>()))?;
    match thread.call_method0("start") {
        Ok(_) => thread.call_method0("join").map(drop),
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
