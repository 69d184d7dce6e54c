//! `SessionResult`.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::action::MachineAction;
use super::command_result::CommandResult;
use super::common::{common_methods, into_model};
use super::json_ready::{JsonReady, json_dict};
use super::shared::Shared;
use super::values::{LazyObject, LazyTuple};
use crate::python::errors::session_failed_error;
use crate::text::printable;
use crate::{model, session};

/// The result of a finished session, including everything a failed session did before it
/// failed.
///
/// A session that ended is always returned, ok or not; `raise_for_status()` raises.
#[pyclass(frozen, module = "mde_live_response")]
pub struct SessionResult {
    core: Shared<session::SessionResult>,
    action: LazyObject<MachineAction>,
    commands: LazyTuple,
    scripts: LazyTuple,
    files: LazyTuple,
}

impl SessionResult {
    pub fn core(&self) -> &session::SessionResult {
        &self.core
    }

    fn command_results<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        self.commands.get_or_build(py, || {
            Ok(self.core.commands.iter().cloned().map(CommandResult::from).collect())
        })
    }

    /// Collects one attribute of every command that has it.
    fn collect<'py, T>(
        &self,
        py: Python<'py>,
        pick: impl Fn(&CommandResult) -> PyResult<Option<T>>,
    ) -> PyResult<Vec<T>> {
        let mut found = Vec::new();
        for command in self.command_results(py)?.iter() {
            found.extend(pick(command.cast::<CommandResult>()?.get())?);
        }
        Ok(found)
    }
}

into_model! {
    session::SessionResult => SessionResult { action, commands, scripts, files }
}

/// An action without its commands, which the result has itself.
struct ActionFields<'a>(&'a model::MachineAction);

impl JsonReady for ActionFields<'_> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let fields = self.0.to_json_ready(py)?;
        fields.cast::<PyDict>()?.del_item("commands")?;
        Ok(fields)
    }
}

json_dict! { session::SessionResult, |result| {
    "action": ActionFields(&result.action),
    "commands": result.commands,
    "ok": result.is_ok(),
    "reason": result.reason,
    "message": result.message,
} }

common_methods! {
    SessionResult;
    equal: |one, other| one == other;
    hash: |result| (&result.action.id, &result.reason);
    methods {
        /// The action in its final state.
        #[getter]
        fn action<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, MachineAction>>> {
            self.action.get_or_make(py, || Some(self.core.action.clone().into()))
        }

        /// `action.commands`, with the fetched results.
        #[getter]
        fn commands<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.command_results(py)
        }

        /// Whether the action succeeded, every command completed, every result was fetched, and
        /// no script had an exit code other than 0.
        #[getter]
        fn ok(&self) -> bool {
            self.core.is_ok()
        }

        /// The first thing that went wrong, as a keyword; `ok` if nothing did.
        ///
        /// `script`: a script had an exit code other than 0. `command`: a command failed.
        /// `fetch`: a result could not be fetched or saved. `timed_out`, `cancelled`, `failed`:
        /// how the action ended.
        #[getter]
        fn reason(&self) -> &str {
            &self.core.reason
        }

        /// The reason as a sentence.
        #[getter]
        fn message(&self) -> &str {
            &self.core.message
        }

        /// The outputs of the scripts that have one, in command order.
        #[getter]
        fn scripts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.scripts.get_or_build(py, || self.collect(py, |it| it.script_output(py)))
        }

        /// The collected files, in command order.
        #[getter]
        fn files<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.files.get_or_build(py, || self.collect(py, |it| it.collected_file(py)))
        }

        /// Return this result if it is ok.
        ///
        /// Raises:
        ///     SessionFailedError: it is not ok. The error's `result` is this result.
        fn raise_for_status<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
            let result = &slf.get().core;
            if result.is_ok() {
                return Ok(slf);
            }
            Err(session_failed_error(&slf, result)?)
        }

        fn __repr__(&self) -> String {
            let (id, reason) = (&self.core.action.id, &self.core.reason);
            printable(&format!("<SessionResult of {id}: {reason}>")).into_owned()
        }
    }
}
