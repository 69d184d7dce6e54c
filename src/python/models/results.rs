//! What a session brought back: `ScriptOutput`, `CollectedFile`, `CommandResult`, `SessionResult`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDateTime;
use serde_json::{Value, json};

use super::action::{MachineAction, action_attributes};
use super::command::Command;
use super::pickle::common_methods;
use super::values;
use crate::model;
use crate::python::errors::{session_failed_error, to_exception_object};
use crate::session;

/// What a script left behind.
///
/// Args:
///     script_name: the library script's name.
///     exit_code: 0 unless given; None where the payload did not say.
///     stdout: what it wrote to its output.
///     stderr: what it wrote to its errors.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ScriptOutput(pub(super) Arc<model::ScriptOutput>);

fn script_attributes(script: &model::ScriptOutput) -> Value {
    json!({
        "script_name": script.script_name,
        "exit_code": script.exit_code,
        "stdout": script.stdout,
        "stderr": script.stderr,
    })
}

common_methods! { ScriptOutput {
    #[new]
    #[pyo3(
        signature = (script_name, *, exit_code=Some(0), stdout="", stderr=""),
        text_signature = "(script_name, *, exit_code=0, stdout='', stderr='')"
    )]
    fn new(script_name: &str, exit_code: Option<i64>, stdout: &str, stderr: &str) -> Self {
        model::ScriptOutput::new(script_name, exit_code, stdout, stderr).into()
    }

    /// The library script's name.
    #[getter]
    fn script_name(&self) -> &str {
        &self.0.script_name
    }

    /// Its exit code; None where the payload did not say.
    #[getter]
    fn exit_code(&self) -> Option<i64> {
        self.0.exit_code
    }

    /// Its output as sent, less trailing NULs.
    #[getter]
    fn stdout(&self) -> &str {
        &self.0.stdout
    }

    /// Its errors as sent, less trailing NULs.
    #[getter]
    fn stderr(&self) -> &str {
        &self.0.stderr
    }

    /// `stdout`, safe to show: control characters are removed.
    #[getter]
    fn text(&self) -> String {
        self.0.text()
    }

    /// The payload as it came; all there is where it was not the documented JSON.
    #[getter]
    fn raw(&self) -> &[u8] {
        &self.0.raw
    }

    /// Parse `stdout` as JSON.
    ///
    /// Raises:
    ///     ValueError: it is not JSON.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("json")?.call_method1("loads", (self.0.json_text(),))
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &script_attributes(&self.0))
    }

    fn __repr__(&self) -> String {
        let code = self.0.exit_code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
        format!("<ScriptOutput of {}: {code}, {} characters>", self.0.script_name, self.0.stdout.chars().count())
    }
} }

/// A file that was collected from a device.
#[pyclass(frozen, module = "mde_live_response")]
pub struct CollectedFile(pub(super) Arc<model::CollectedFile>);

common_methods! { CollectedFile {
    /// Where it was on the device.
    #[getter]
    fn remote_path(&self) -> &str {
        &self.0.remote_path
    }

    /// Where it was saved here; None where it went to a file object or an iterator.
    #[getter]
    fn path(&self) -> Option<&str> {
        self.0.path.as_deref()
    }

    /// Its own name, made safe for any file system: the payload's if it tells one, else of `remote_path`.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// Bytes of the file itself, unpacked.
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }

    /// SHA-256 of the file itself, unpacked, in lower-case hex.
    #[getter]
    fn sha256(&self) -> &str {
        &self.0.sha256
    }

    /// What came, by its first bytes: `gzip` was unpacked here; `zip`, `json`, `other` are as they came.
    #[getter]
    fn payload(&self) -> &str {
        self.0.payload.name()
    }

    /// Bytes of the payload as it came.
    #[getter]
    fn received_size(&self) -> u64 {
        self.0.received_size
    }

    /// SHA-256 of the payload as it came, in lower-case hex.
    #[getter]
    fn received_sha256(&self) -> &str {
        &self.0.received_sha256
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &*self.0)
    }

    fn __repr__(&self) -> String {
        format!("<CollectedFile {:?}: {} bytes>", self.0.remote_path, self.0.size)
    }
} }

/// What became of one command of a session.
#[pyclass(frozen, module = "mde_live_response")]
pub struct CommandResult(pub(super) Arc<session::CommandResult>);

/// The result's attributes by their names; an error by its words.
pub fn command_attributes(result: &session::CommandResult) -> Value {
    let mut value = values::to_attributes(result);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("script".to_owned(), json!(result.script.as_ref().map(script_attributes)));
        fields.insert("error".to_owned(), json!(result.error.as_ref().map(ToString::to_string)));
    }
    value
}

common_methods! { CommandResult {
    /// The command's place in the sequence, from 0.
    #[getter]
    fn index(&self) -> u32 {
        self.0.command.index
    }

    /// The command.
    #[getter]
    fn command(&self) -> Command {
        self.0.command.command.clone().into()
    }

    /// The service's word for it; a word not known here is kept as it came.
    #[getter]
    fn status(&self) -> &str {
        &self.0.command.status
    }

    /// What the service says went wrong.
    #[getter]
    fn errors(&self) -> Vec<String> {
        self.0.command.errors.clone()
    }

    /// When it began, in UTC; None where it did not.
    #[getter]
    fn start_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.command.start_time)
    }

    /// When it ended, in UTC; None where it did not.
    #[getter]
    fn end_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.command.end_time)
    }

    /// It never started, because a command before it failed.
    #[getter]
    fn skipped(&self) -> bool {
        self.0.skipped
    }

    /// A RunScript's output, once it was fetched; a failed script usually has one too.
    #[getter]
    fn script(&self) -> Option<ScriptOutput> {
        self.0.script.clone().map(ScriptOutput::from)
    }

    /// A GetFile's file, once it was fetched.
    #[getter]
    fn file(&self) -> Option<CollectedFile> {
        self.0.file.clone().map(CollectedFile::from)
    }

    /// Why its result could not be fetched or saved, although it ran.
    #[getter]
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.error.as_ref().map(|error| to_exception_object(py, error))
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &command_attributes(&self.0))
    }

    fn __repr__(&self) -> String {
        format!("<CommandResult {}: {} {}>", self.0.command.index, self.0.command.command, self.0.command.status)
    }
} }

/// What a finished session left: also a failed one, with all that it did before it failed.
///
/// A session that ended is always returned, whatever became of it and of its results; `raise_for_status()` raises.
#[pyclass(frozen, module = "mde_live_response")]
pub struct SessionResult(pub(super) Arc<session::SessionResult>);

impl SessionResult {
    pub fn core(&self) -> &session::SessionResult {
        &self.0
    }
}

common_methods! { SessionResult {
    /// The action in its final state.
    #[getter]
    fn action(&self) -> MachineAction {
        self.0.action.clone().into()
    }

    /// `action.commands`, with what was fetched.
    #[getter]
    fn commands(&self) -> Vec<CommandResult> {
        self.0.commands.iter().cloned().map(CommandResult::from).collect()
    }

    /// The action succeeded, each command completed, each result asked for is here, no exit code is other than 0.
    #[getter]
    fn ok(&self) -> bool {
        self.0.is_ok()
    }

    /// The first thing that was not ok, to branch on and to count by; `ok` where all was.
    ///
    /// `script`: an exit code other than 0. `command`: a command failed. `fetch`: a result could not be fetched or
    /// saved. `timed_out`, `cancelled`, `failed`: the action ended so.
    #[getter]
    fn reason(&self) -> &str {
        &self.0.reason
    }

    /// The reason, for a person.
    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }

    /// The scripts' outputs, in order, of the commands that have one.
    #[getter]
    fn scripts(&self) -> Vec<ScriptOutput> {
        self.0.commands.iter().filter_map(|result| result.script.clone()).map(ScriptOutput::from).collect()
    }

    /// The collected files, in order, of the commands that have one.
    #[getter]
    fn files(&self) -> Vec<CollectedFile> {
        self.0.commands.iter().filter_map(|result| result.file.clone()).map(CollectedFile::from).collect()
    }

    /// Return this result if it is ok.
    ///
    /// Raises:
    ///     SessionFailedError: it is not; the error holds this result.
    fn raise_for_status<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        let result = &slf.get().0;
        if result.is_ok() {
            return Ok(slf);
        }
        Err(session_failed_error(&slf, result)?)
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let commands: Vec<_> = self.0.commands.iter().map(command_attributes).collect();
        let value = json!({
            "action": action_attributes(&self.0.action),
            "commands": commands,
            "ok": self.0.is_ok(),
            "reason": self.0.reason,
            "message": self.0.message,
        });
        values::to_python_object(py, &value)
    }

    fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("mde_live_response.display")?.call_method1("session_result_html", (slf,))
    }

    fn __repr__(&self) -> String {
        format!("<SessionResult of {}: {}>", self.0.action.id, self.0.reason)
    }
} }
