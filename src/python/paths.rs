//! Path arguments: `str | PathLike[str]`.

use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use crate::python::arguments::{Argument, Refusal, Shape};
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

impl<'a, 'py> Argument<'a, 'py> for PathArgument {
    const TAKES: &'static str = "a path";
    const SHAPE: Shape = Shape::Path;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let path =
            read_path(object).map_err(|error| Refusal::from_conversion(object.py(), error))?;
        match path.to_str() {
            Some(text) if is_misread_windows_path(text) => Err(Refusal::Value(
                format!("is {text:?}, which has a control character"),
                crate::text::RAW_STRING_HINT,
            )),
            _ => Ok(Self(path)),
        }
    }
}

/// Returns whether a path of Windows has a control character. Windows allows none, so it comes
/// from a backslash in a Python string that is not raw.
fn is_misread_windows_path(text: &str) -> bool {
    let has_drive = matches!(text.as_bytes(), [drive, b':', ..] if drive.is_ascii_alphabetic());
    (has_drive || text.starts_with(r"\\")) && text.chars().any(char::is_control)
}
