//! `sys.modules`, for calls that ask what the program has imported.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::python::gil_gate::enter;
use crate::python::runtime::is_main_interpreter;

/// Returns `sys.modules` of the caller's interpreter.
pub fn imported_modules(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    // Every call asks, and an import of `sys` takes longer than all else that a call asks Python.
    static OF_MAIN: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
    if !is_main_interpreter(py) {
        return find(py);
    }
    let modules = OF_MAIN.get_or_try_init(py, || find(py).map(Bound::unbind))?;
    Ok(modules.bind(py).clone())
}

fn find(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let _inside = enter(py);
    Ok(py.import("sys")?.getattr("modules")?.cast_into::<PyDict>()?)
}
