//! `MachineAction`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDateTime;
use serde_json::{Value, json};

use super::pickle::common_methods;
use super::results::{CommandResult, command_attributes};
use super::values;
use crate::model;
use crate::session;

/// A machine action as the service described it.
///
/// Unknown status words are kept as they came; unknown fields are in `raw`.
/// The service's page: learn.microsoft.com/defender-endpoint/api/machineaction
#[pyclass(frozen, module = "mde_live_response")]
pub struct MachineAction(pub(super) Arc<model::MachineAction>);

/// The action's attributes by their names.
pub fn action_attributes(action: &model::MachineAction) -> Value {
    let mut value = values::to_attributes(action);
    let commands: Vec<_> =
        session::CommandResult::unfetched(action).iter().map(command_attributes).collect();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("done".to_owned(), json!(action.is_done()));
        fields.insert("commands".to_owned(), json!(commands));
    }
    value
}

common_methods! { MachineAction {
    /// The action's id, a GUID.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// The kind of action; `LiveResponse` for ours.
    #[getter]
    fn r#type(&self) -> &str {
        &self.0.kind
    }

    /// The service's word for it; a word not known here is kept as it came.
    #[getter]
    fn status(&self) -> &str {
        &self.0.status
    }

    /// The status is final.
    #[getter]
    fn done(&self) -> bool {
        self.0.is_done()
    }

    /// The machine's id; a fresh action may not have it yet.
    #[getter]
    fn machine_id(&self) -> Option<&str> {
        self.0.machine_id.as_deref()
    }

    /// The machine's name; a fresh action may not have it yet.
    #[getter]
    fn computer_dns_name(&self) -> Option<&str> {
        self.0.computer_dns_name.as_deref()
    }

    /// Who asked for it: a user or an application.
    #[getter]
    fn requestor(&self) -> Option<&str> {
        self.0.requestor.as_deref()
    }

    /// The comment it was started with, our tag included.
    #[getter]
    fn requestor_comment(&self) -> Option<&str> {
        self.0.requestor_comment.as_deref()
    }

    /// When the service took it.
    #[getter]
    fn creation_date_time_utc<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.creation_date_time_utc)
    }

    /// When it last changed.
    #[getter]
    fn last_update_date_time_utc<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.last_update_date_time_utc)
    }

    /// Who cancelled it.
    #[getter]
    fn cancellation_requestor(&self) -> Option<&str> {
        self.0.cancellation_requestor.as_deref()
    }

    /// The comment it was cancelled with.
    #[getter]
    fn cancellation_comment(&self) -> Option<&str> {
        self.0.cancellation_comment.as_deref()
    }

    /// When it was cancelled.
    #[getter]
    fn cancellation_date_time_utc<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.cancellation_date_time_utc)
    }

    /// The service's HRESULT; 0 where nothing failed.
    #[getter]
    fn error_hresult(&self) -> Option<i64> {
        self.0.error_hresult
    }

    /// The id that the requestor gave it, if any.
    #[getter]
    fn external_id(&self) -> Option<&str> {
        self.0.external_id.as_deref()
    }

    /// Where it was asked for, as `PublicApi` or `Portal`.
    #[getter]
    fn request_source(&self) -> Option<&str> {
        self.0.request_source.as_deref()
    }

    /// Each command and its status, in order.
    #[getter]
    fn commands(&self) -> Vec<CommandResult> {
        session::CommandResult::unfetched(&self.0).into_iter().map(CommandResult::from).collect()
    }

    /// The service's JSON, whole.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::parse_raw(py, &self.0.raw)
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &action_attributes(&self.0))
    }

    fn __repr__(&self) -> String {
        format!("<MachineAction {} {} {}>", self.0.id, self.0.kind, self.0.status)
    }
} }
