//! `Command`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyType};
use serde_json::Value;

use super::pickle::common_methods;
use super::values;
use crate::error::Error;
use crate::model;
use crate::python::errors::to_pyerr;

/// One live response command. Immutable, comparable, hashable, picklable.
///
/// The service wants every PutFile before every RunScript before every GetFile; any number of each.
/// Its page: learn.microsoft.com/defender-endpoint/api/run-live-response
#[pyclass(frozen, module = "mde_live_response")]
pub struct Command(pub(super) Arc<model::Command>);

impl Command {
    pub fn core(&self) -> &model::Command {
        &self.0
    }
}

fn to_py_command(
    py: Python<'_>,
    command: crate::error::Result<model::Command>,
) -> PyResult<Command> {
    command.map(Command::from).map_err(|error| to_pyerr(py, error))
}

common_methods! { Command {
    /// Put a file from the library into the working folder on the device.
    ///
    /// It leaves no result, and the service deletes it when the device restarts.
    ///
    /// Args:
    ///     file_name: the library file's name, not a path.
    ///
    /// Raises:
    ///     InvalidRequestError: the name is empty, or one the library cannot hold (letters, digits, `-`, `_`, `.`).
    #[classmethod]
    fn put_file(_class: &Bound<'_, PyType>, py: Python<'_>, file_name: &str) -> PyResult<Self> {
        to_py_command(py, model::Command::put_file(file_name))
    }

    /// Run a script from the library on the device.
    ///
    /// The service stops it after 10 minutes.
    ///
    /// Args:
    ///     script_name: the library file's name.
    ///     args: a str goes as it is; a sequence is quoted, for PowerShell where the name ends in `.ps1`, else for sh;
    ///         None sends no arguments at all.
    ///
    /// Raises:
    ///     InvalidRequestError: the name is empty, or one the library cannot hold (letters, digits, `-`, `_`, `.`).
    #[classmethod]
    #[pyo3(signature = (script_name, args=None))]
    fn run_script(_class: &Bound<'_, PyType>, py: Python<'_>, script_name: &str, args: Option<Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(args) = args else { return to_py_command(py, model::Command::run_script(script_name, None)) };
        if let Ok(text) = args.cast::<PyString>() {
            return to_py_command(py, model::Command::run_script(script_name, Some(&text.to_cow()?)));
        }
        let list: Vec<String> =
            args.extract().map_err(|_| PyTypeError::new_err("args takes a str or a sequence of str"))?;
        to_py_command(py, model::Command::run_script_quoted(script_name, &list))
    }

    /// Collect a file from the device.
    ///
    /// Args:
    ///     path: the full path on the device, as a person writes it: `C:\Temp\triage.zip`.
    ///
    /// Raises:
    ///     InvalidRequestError: the path is empty.
    #[classmethod]
    fn get_file(_class: &Bound<'_, PyType>, py: Python<'_>, path: &str) -> PyResult<Self> {
        to_py_command(py, model::Command::get_file(path))
    }

    /// Read a command in the service's own shape, as `to_dict` gives it.
    ///
    /// Args:
    ///     wire: `{"type": ..., "params": [{"key": ..., "value": ...}]}`.
    ///
    /// Raises:
    ///     InvalidRequestError: the type is unknown, or a parameter is missing, unknown or empty.
    #[classmethod]
    fn from_dict(_class: &Bound<'_, PyType>, py: Python<'_>, wire: &Bound<'_, PyAny>) -> PyResult<Self> {
        let wire: Value = pythonize::depythonize(wire).map_err(|error| {
            to_pyerr(py, Error::invalid(format!("not a live response command: {error}")))
        })?;
        to_py_command(py, model::Command::from_wire(&wire))
    }

    /// `PutFile`, `RunScript` or `GetFile`.
    #[getter]
    fn r#type(&self) -> &str {
        self.0.type_name()
    }

    /// The parameters by their wire names, as `{"ScriptName": "triage.ps1", "Args": "-Depth 2"}`.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let params = PyDict::new(py);
        for (key, value) in self.0.params() {
            params.set_item(key, value)?;
        }
        Ok(params)
    }

    /// Give the wire shape: `{"type": ..., "params": [{"key": ..., "value": ...}]}`.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &*self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.hash(&mut hasher);
        hasher.finish()
    }

    fn __repr__(&self) -> String {
        format!("<Command {}>", self.0)
    }
} }
