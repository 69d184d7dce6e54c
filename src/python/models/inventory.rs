//! What the service knows: `Machine` and `LibraryFile`.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDateTime;

use super::pickle::common_methods;
use super::values;
use crate::model;

/// A device as the service knows it. Unknown fields are in `raw`.
///
/// The service's page: learn.microsoft.com/defender-endpoint/api/machine
#[pyclass(frozen, module = "mde_live_response")]
pub struct Machine(pub(super) Arc<model::Machine>);

impl Machine {
    pub fn id(&self) -> String {
        self.0.id.clone()
    }
}

common_methods! { Machine {
    /// The machine id, 40 hex digits.
    #[getter(id)]
    fn get_id(&self) -> &str {
        &self.0.id
    }

    /// Its full name.
    #[getter]
    fn computer_dns_name(&self) -> Option<&str> {
        self.0.computer_dns_name.as_deref()
    }

    /// Its operating system, as `Windows11`.
    #[getter]
    fn os_platform(&self) -> Option<&str> {
        self.0.os_platform.as_deref()
    }

    /// The operating system's version, as `21H2`.
    #[getter]
    fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    /// Its sensor's health, as `Active`.
    #[getter]
    fn health_status(&self) -> Option<&str> {
        self.0.health_status.as_deref()
    }

    /// Whether it is onboarded, as `Onboarded`.
    #[getter]
    fn onboarding_status(&self) -> Option<&str> {
        self.0.onboarding_status.as_deref()
    }

    /// Its last full report, about daily; not a sign of being online.
    #[getter]
    fn last_seen<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.last_seen)
    }

    /// Its device group.
    #[getter]
    fn rbac_group_name(&self) -> Option<&str> {
        self.0.rbac_group_name.as_deref()
    }

    /// Its tags.
    #[getter]
    fn machine_tags(&self) -> Vec<String> {
        self.0.machine_tags.clone()
    }

    /// The service's JSON, whole.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::parse_raw(py, &self.0.raw)
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &values::to_attributes(&*self.0))
    }

    fn __repr__(&self) -> String {
        format!("<Machine {} {}>", self.0.computer_dns_name.as_deref().unwrap_or("without a name"), self.0.id)
    }
} }

/// A file in the live response library. Unknown fields are in `raw`.
///
/// The service's page: learn.microsoft.com/defender-endpoint/api/list-library-files
#[pyclass(frozen, module = "mde_live_response")]
pub struct LibraryFile(pub(super) Arc<model::LibraryFile>);

common_methods! { LibraryFile {
    /// Its name, which is its key.
    #[getter]
    fn file_name(&self) -> &str {
        &self.0.file_name
    }

    /// SHA-256 of its content, in lower-case hex.
    #[getter]
    fn sha256(&self) -> Option<&str> {
        self.0.sha256.as_deref()
    }

    /// What it is for.
    #[getter]
    fn description(&self) -> Option<&str> {
        self.0.description.as_deref()
    }

    /// When it was first uploaded.
    #[getter]
    fn creation_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.creation_time)
    }

    /// When it was last uploaded.
    #[getter]
    fn last_updated_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.0.last_updated_time)
    }

    /// Who uploaded it.
    #[getter]
    fn created_by(&self) -> Option<&str> {
        self.0.created_by.as_deref()
    }

    /// Whether it takes arguments.
    #[getter]
    fn has_parameters(&self) -> Option<bool> {
        self.0.has_parameters
    }

    /// What arguments it takes.
    #[getter]
    fn parameters_description(&self) -> Option<&str> {
        self.0.parameters_description.as_deref()
    }

    /// Whether `ensure` uploaded it; None where `ensure` did not return it.
    #[getter]
    fn changed(&self) -> Option<bool> {
        self.0.changed
    }

    /// The service's JSON, whole.
    #[getter]
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::parse_raw(py, &self.0.raw)
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &values::to_attributes(&*self.0))
    }

    fn __repr__(&self) -> String {
        format!("<LibraryFile {:?}>", self.0.file_name)
    }
} }
