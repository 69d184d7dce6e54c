//! Path arguments: `str | PathLike[str]`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::python::gil_gate::{call_python, enter};

/// Reads a path. A `PathLike` is the caller's code.
pub fn read_path(object: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    if object.is_instance_of::<PyString>() {
        return object.extract();
    }
    static FSPATH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = object.py();
    let fspath = {
        let _inside = enter(py);
        FSPATH.import(py, "os", "fspath")?
    };
    call_python(fspath, (object,))?.extract()
}

/// A path as an argument.
pub struct PathArgument(pub PathBuf);

impl<'py> FromPyObject<'_, 'py> for PathArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        read_path(&object).map(Self)
    }
}
