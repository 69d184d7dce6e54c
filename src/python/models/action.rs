//! `MachineAction`.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTuple};

use super::command_result::{CommandResult, CommandView};
use super::common::{common_methods, into_model};
use super::json_ready::{JsonReady, json_dict, to_list};
use super::shared::Shared;
use super::values::{self, LazyTuple};
use crate::text::printable;
use crate::{model, session};

/// A machine action as returned by the service.
///
/// An unknown status is kept unchanged; unknown fields are in `raw`.
/// The service's page: learn.microsoft.com/defender-endpoint/api/machineaction
#[pyclass(frozen, module = "mde_live_response")]
pub struct MachineAction {
    core: Shared<model::MachineAction>,
    commands: LazyTuple,
}

into_model! { model::MachineAction => MachineAction { commands } }

json_dict! { model::MachineAction, |action| {
    "id": action.id,
    "type": action.kind,
    "status": action.status,
    "done": action.is_done(),
    "machine_id": action.machine_id,
    "computer_dns_name": action.computer_dns_name,
    "requestor": action.requestor,
    "requestor_comment": action.requestor_comment,
    "creation_date_time_utc": action.creation_date_time_utc,
    "last_update_date_time_utc": action.last_update_date_time_utc,
    "cancellation_requestor": action.cancellation_requestor,
    "cancellation_comment": action.cancellation_comment,
    "cancellation_date_time_utc": action.cancellation_date_time_utc,
    "error_hresult": action.error_hresult,
    "error_name": action.error_name(),
    "external_id": action.external_id,
    "request_source": action.request_source,
    "commands": UnfetchedCommands(action),
} }

/// The commands of an action whose results were not fetched.
struct UnfetchedCommands<'a>(&'a model::MachineAction);

impl JsonReady for UnfetchedCommands<'_> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let commands = session::CommandResult::skipped(self.0);
        let view = |(command, skipped)| CommandView { command, skipped, fetched: None };
        to_list(py, commands.map(view))
    }
}

common_methods! {
    MachineAction;
    equal: |one, other| one == other;
    hash: |action| (&action.id, &action.status);
    methods {
        /// The action's id, a GUID.
        #[getter]
        fn id(&self) -> &str {
            &self.core.id
        }

        /// The kind of action: `LiveResponse` for the sessions of this package.
        #[getter]
        fn r#type(&self) -> &str {
            &self.core.kind
        }

        /// The service's status. A status this package does not know is kept unchanged.
        #[getter]
        fn status(&self) -> &str {
            &self.core.status
        }

        /// Whether the status is final.
        #[getter]
        fn done(&self) -> bool {
            self.core.is_done()
        }

        /// The machine's id. A new action may not have one yet.
        #[getter]
        fn machine_id(&self) -> Option<&str> {
            self.core.machine_id.as_deref()
        }

        /// The machine's name. A new action may not have one yet.
        #[getter]
        fn computer_dns_name(&self) -> Option<&str> {
            self.core.computer_dns_name.as_deref()
        }

        /// The user or application that requested it.
        #[getter]
        fn requestor(&self) -> Option<&str> {
            self.core.requestor.as_deref()
        }

        /// The comment it was submitted with, including this package's tag.
        #[getter]
        fn requestor_comment(&self) -> Option<&str> {
            self.core.requestor_comment.as_deref()
        }

        /// When the service accepted it.
        #[getter]
        fn creation_date_time_utc<'py>(
            &self,
            py: Python<'py>,
        ) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.creation_date_time_utc)
        }

        /// When it last changed.
        #[getter]
        fn last_update_date_time_utc<'py>(
            &self,
            py: Python<'py>,
        ) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.last_update_date_time_utc)
        }

        /// The user or application that cancelled it.
        #[getter]
        fn cancellation_requestor(&self) -> Option<&str> {
            self.core.cancellation_requestor.as_deref()
        }

        /// The comment it was cancelled with.
        #[getter]
        fn cancellation_comment(&self) -> Option<&str> {
            self.core.cancellation_comment.as_deref()
        }

        /// When it was cancelled.
        #[getter]
        fn cancellation_date_time_utc<'py>(
            &self,
            py: Python<'py>,
        ) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.cancellation_date_time_utc)
        }

        /// The service's HRESULT; 0 if nothing failed.
        #[getter]
        fn error_hresult(&self) -> Option<i64> {
            self.core.error_hresult
        }

        /// `error_hresult` by name, such as `E_ACCESSDENIED (0x80070005)`; a code without a name
        /// as its number. None if nothing failed.
        #[getter]
        fn error_name(&self) -> Option<String> {
            self.core.error_name()
        }

        /// The id that the requestor gave it, if any.
        #[getter]
        fn external_id(&self) -> Option<&str> {
            self.core.external_id.as_deref()
        }

        /// Where the request came from, such as `PublicApi` or `Portal`.
        #[getter]
        fn request_source(&self) -> Option<&str> {
            self.core.request_source.as_deref()
        }

        /// Each command with its status, in order.
        #[getter]
        fn commands<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.commands.get_or_build(py, || {
                let results = session::CommandResult::unfetched(&self.core).into_iter();
                Ok(results.map(CommandResult::from).collect())
            })
        }

        /// The service's complete JSON.
        #[getter]
        fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            values::parse_raw(py, &self.core.raw)
        }

        fn __repr__(&self) -> String {
            let model::MachineAction { id, kind, status, .. } = &*self.core;
            let error = self.core.error_name().map_or_else(String::new, |name| format!(" {name}"));
            printable(&format!("<MachineAction {id} {kind} {status}{error}>")).into_owned()
        }
    }
}
