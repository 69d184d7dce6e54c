//! `Command`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use super::command_content::{ScriptArgs, WireArgument, pickled, read_file};
use super::common::into_model;
use super::json_ready::{JsonReady, json_dict, to_list};
use super::pickle::{ReduceValue, reduce_state};
use super::shared::Shared;
use super::values;
use crate::model::{self, LocalContent, Shell};
use crate::python::arguments::named;
use crate::python::gil_gate::detach;
use crate::python::paths::PathArgument;
use crate::text::printable;

/// One live response command. Immutable, comparable, hashable, picklable.
///
/// In a session, every PutFile comes before every RunScript, and every RunScript before every
/// GetFile. There may be any number of each.
/// The service's page: learn.microsoft.com/defender-endpoint/api/run-live-response
#[pyclass(frozen, module = "mde_live_response")]
pub struct Command {
    core: Shared<model::Command>,
}

impl Command {
    pub fn core(&self) -> &model::Command {
        &self.core
    }
}

into_model! { model::Command => Command {} }

/// The parameters of a command.
struct Params<'a>(&'a model::Command);

/// The key and the value of one parameter.
struct Param<'a>(&'a str, &'a str);

json_dict! { Param<'_>, |param| { "key": param.0, "value": param.1 } }

impl JsonReady for Params<'_> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_list(py, self.0.params().map(|(key, value)| Param(key, value)))
    }
}

json_dict! { model::Command, |command| {
    "type": command.type_name(),
    "params": Params(command),
} }

#[pymethods]
impl Command {
    /// Put a file from the library into the working folder on the device.
    ///
    /// The command has no result. The service deletes the file when the device restarts. As
    /// others report, the folder is
    /// `C:\ProgramData\Microsoft\Windows Defender Advanced Threat Protection\Downloads` on
    /// Windows, `/var/opt/microsoft/mdatp/response` on Linux, and
    /// `/Library/Application Support/Microsoft/Defender/response` on macOS.
    ///
    /// Args:
    ///     file_name: the file's name in the library, not a path.
    ///
    /// Raises:
    ///     InvalidRequestError: the name is empty, or has other characters than letters,
    ///         digits, `-`, `_` and `.`, which the library does not accept.
    #[classmethod]
    fn put_file(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = named::file_name)] file_name: &str,
    ) -> PyResult<Self> {
        Ok(model::Command::put_file(file_name)?.into())
    }

    /// Run a script from the library on the device.
    ///
    /// The service stops a script after 10 minutes. What runs a script on each system:
    /// https://github.com/mde-live-response/mde-live-response/blob/main/docs/commands.md
    ///
    /// Args:
    ///     script_name: the script's name in the library.
    ///     args: a str is sent unchanged. A sequence is quoted: for PowerShell if the name ends
    ///         in `.ps1` or has no ending, else for sh. A mapping is sent as one argument, the
    ///         base64url of its JSON. None and an empty sequence send no arguments.
    ///
    /// Raises:
    ///     InvalidRequestError: the name is empty, or has other characters than letters,
    ///         digits, `-`, `_` and `.`, which the library does not accept.
    #[classmethod]
    #[pyo3(signature = (script_name, args=None))]
    fn run_script(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = named::script_name)] script_name: &str,
        #[pyo3(from_py_with = named::args)] args: Option<ScriptArgs>,
    ) -> PyResult<Self> {
        let args = args.and_then(|args| args.for_script(script_name));
        Ok(model::Command::run_script(script_name, args.as_deref())?.into())
    }

    /// Upload a local file and put it into the working folder on the device.
    ///
    /// The file is read now. A submit uploads it first, unless the library has it, as
    /// `<stem>-<16 digits of its SHA-256><suffix>`; `params["FileName"]` is that name.
    /// Permission: Library.Manage.
    ///
    /// Args:
    ///     path: a file on this computer.
    ///
    /// Raises:
    ///     InvalidRequestError: the library does not accept the file's name.
    ///     OSError: the file cannot be read.
    #[classmethod]
    fn put_local(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        #[pyo3(from_py_with = named::path)] path: PathArgument,
    ) -> PyResult<Self> {
        let content = detach(py, || read_file(&path.0))?;
        Ok(model::Command::put_local(content)?.into())
    }

    /// Upload a local script and run it on the device.
    ///
    /// The file is read now. A submit uploads it first, unless the library has it, as
    /// `<stem>-<16 digits of its SHA-256><suffix>`; `params["ScriptName"]` is that name.
    /// Permission: Library.Manage.
    ///
    /// Args:
    ///     path: a script on this computer.
    ///     args: as for `run_script`.
    ///
    /// Raises:
    ///     InvalidRequestError: the library does not accept the file's name.
    ///     OSError: the file cannot be read.
    #[classmethod]
    #[pyo3(signature = (path, args=None))]
    fn run_local(
        _class: &Bound<'_, PyType>,
        py: Python<'_>,
        #[pyo3(from_py_with = named::path)] path: PathArgument,
        #[pyo3(from_py_with = named::args)] args: Option<ScriptArgs>,
    ) -> PyResult<Self> {
        let content = detach(py, || read_file(&path.0))?;
        let args = args.and_then(|args| args.for_script(&content.library_name));
        Ok(model::Command::run_local(content, args.as_deref())?.into())
    }

    /// Upload code and run it on the device.
    ///
    /// A submit uploads it as `inline-<16 digits of its SHA-256>.ps1` or `.sh`, unless the
    /// library has it. PowerShell code with other characters than ASCII gets a byte order mark.
    /// bash code gets LF line ends and an empty standard input.
    /// Permission: Library.Manage.
    ///
    /// Args:
    ///     code: the script's text.
    ///     args: as for `run_script`.
    ///     shell: `powershell` or `bash`.
    ///
    /// Raises:
    ///     InvalidRequestError: the code is empty or has a NUL, or the shell is another one.
    #[classmethod]
    #[pyo3(signature = (code, args=None, *, shell="powershell"))]
    fn run_inline(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = named::code)] code: &str,
        #[pyo3(from_py_with = named::args)] args: Option<ScriptArgs>,
        #[pyo3(from_py_with = named::shell)] shell: &str,
    ) -> PyResult<Self> {
        let content = LocalContent::inline(code, Shell::from_name(shell)?)?;
        let args = args.and_then(|args| args.for_script(&content.library_name));
        Ok(model::Command::run_local(content, args.as_deref())?.into())
    }

    /// Collect a file from the device.
    ///
    /// Args:
    ///     path: the full path on the device, unescaped, such as `C:\Temp\triage.zip`.
    ///
    /// Raises:
    ///     InvalidRequestError: the path is empty.
    #[classmethod]
    fn get_file(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = named::path)] path: &str,
    ) -> PyResult<Self> {
        Ok(model::Command::get_file(path)?.into())
    }

    /// Make a command from the service's JSON, as `to_dict` returns it.
    ///
    /// Args:
    ///     wire: `{"type": ..., "params": [{"key": ..., "value": ...}]}`.
    ///
    /// Raises:
    ///     InvalidRequestError: the type is unknown, or a parameter is missing, unknown or
    ///         empty.
    #[classmethod]
    fn from_dict(
        _class: &Bound<'_, PyType>,
        #[pyo3(from_py_with = named::wire)] wire: WireArgument,
    ) -> PyResult<Self> {
        Ok(model::Command::from_wire(&wire.0)?.into())
    }

    /// `PutFile`, `RunScript` or `GetFile`.
    #[getter]
    fn r#type(&self) -> &str {
        self.core.type_name()
    }

    /// The parameters, such as `{"ScriptName": "triage.ps1", "Args": "-Depth 2"}`.
    #[getter]
    fn params<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let params = PyDict::new(py);
        for (key, value) in self.core.params() {
            params.set_item(key, value)?;
        }
        Ok(params)
    }

    /// Return the service's JSON: `{"type": ..., "params": [{"key": ..., "value": ...}]}`.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.core.to_json_ready(py)
    }

    fn __eq__(&self, other: &Self) -> bool {
        *self.core == *other.core
    }

    fn __hash__(&self) -> u64 {
        values::hash_of(&*self.core)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<ReduceValue<'py>> {
        reduce_state(py, "Command", &pickled(&self.core)?)
    }

    fn __repr__(&self) -> String {
        printable(&format!("<Command {}>", *self.core)).into_owned()
    }
}
