//! `CommandResult`.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTuple};

use super::collected_file::CollectedFile;
use super::command::Command;
use super::common::{common_methods, into_model};
use super::json_ready::{JsonReady, json_dict};
use super::script_output::ScriptOutput;
use super::shared::Shared;
use super::values::{self, LazyObject, LazyTuple};
use crate::python::errors::to_exception_object;
use crate::text::printable;
use crate::{model, session};

/// The result of one command of a session.
#[pyclass(frozen, module = "mde_live_response")]
pub struct CommandResult {
    core: Shared<session::CommandResult>,
    command: LazyObject<Command>,
    errors: LazyTuple,
    script: LazyObject<ScriptOutput>,
    file: LazyObject<CollectedFile>,
}

impl CommandResult {
    /// Returns the command's place in the session, from 0.
    pub fn command_index(&self) -> u32 {
        self.core.command.index
    }

    pub fn script_output<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<Bound<'py, ScriptOutput>>> {
        self.script.get_or_make(py, || self.core.script.clone().map(ScriptOutput::from))
    }

    pub fn collected_file<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<Option<Bound<'py, CollectedFile>>> {
        self.file.get_or_make(py, || self.core.file.clone().map(CollectedFile::from))
    }
}

into_model! { session::CommandResult => CommandResult { command, errors, script, file } }

impl JsonReady for session::CommandResult {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        CommandView { command: &self.command, skipped: self.skipped, fetched: Some(self) }
            .to_json_ready(py)
    }
}

/// A command of an action, and its result once it was fetched.
pub struct CommandView<'a> {
    pub command: &'a model::ActionCommand,
    pub skipped: bool,
    pub fetched: Option<&'a session::CommandResult>,
}

json_dict! { CommandView<'_>, |view| {
    "index": view.command.index,
    "command": view.command.command,
    "status": view.command.status,
    "errors": view.command.errors,
    "start_time": view.command.start_time,
    "end_time": view.command.end_time,
    "skipped": view.skipped,
    "script": view.fetched.and_then(|result| result.script.as_ref()),
    "file": view.fetched.and_then(|result| result.file.as_ref()),
    "error": view.fetched.and_then(|result| result.error.as_ref()),
} }

common_methods! {
    CommandResult;
    equal: |one, other| one == other;
    hash: |result| (result.command.index, &result.command.command, &result.command.status);
    methods {
        /// The command's place in the session, from 0.
        #[getter]
        fn index(&self) -> u32 {
            self.command_index()
        }

        /// The command.
        #[getter]
        fn command<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, Command>>> {
            self.command.get_or_make(py, || Some(self.core.command.command.clone().into()))
        }

        /// The service's status. A status this package does not know is kept unchanged.
        #[getter]
        fn status(&self) -> &str {
            &self.core.command.status
        }

        /// The service's error messages.
        #[getter]
        fn errors<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.errors.get_or_build(py, || Ok(self.core.command.errors.clone()))
        }

        /// When it started, in UTC. None if it did not.
        #[getter]
        fn start_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.command.start_time)
        }

        /// When it ended, in UTC. None if it did not.
        #[getter]
        fn end_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.command.end_time)
        }

        /// Whether it never started because a command before it failed.
        #[getter]
        fn skipped(&self) -> bool {
            self.core.skipped
        }

        /// The output of a RunScript, once fetched. A failed script usually has one too.
        #[getter]
        fn script<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, ScriptOutput>>> {
            self.script_output(py)
        }

        /// The file of a GetFile, once fetched.
        #[getter]
        fn file<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, CollectedFile>>> {
            self.collected_file(py)
        }

        /// Why the result could not be fetched or saved, although the command ran.
        #[getter]
        fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
            self.core.error.as_ref().map(|error| to_exception_object(py, error))
        }

        fn __repr__(&self) -> String {
            let command = &self.core.command;
            let (index, status) = (command.index, &command.status);
            printable(&format!("<CommandResult {index}: {} {status}>", command.command)).into_owned()
        }
    }
}
