//! `Finding` and `Check`.

use std::sync::Arc;

use pyo3::prelude::*;
use serde_json::json;

use crate::check;
use crate::python::models::common_methods;
use crate::python::models::values;
use crate::python::runtime::IntoPython;

/// One thing that would stop a session, or weaken it.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Finding(Arc<check::Finding>);

common_methods! { Finding {
    /// What it is, in one word, to branch on.
    #[getter]
    fn code(&self) -> &str {
        &self.0.code
    }

    /// `error`: no session would start, or none would bring its results. `warning`: it would be weaker.
    #[getter]
    fn level(&self) -> &str {
        &self.0.level
    }

    /// What was found.
    #[getter]
    fn message(&self) -> &str {
        &self.0.message
    }

    /// What cures it.
    #[getter]
    fn hint(&self) -> &str {
        &self.0.hint
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &*self.0)
    }

    fn __repr__(&self) -> String {
        format!("<Finding {} {}: {}>", self.0.level, self.0.code, self.0.message)
    }
} }

/// What would stop a session before it starts, or weaken it: permissions, machine, library, state store.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Check(Arc<check::Check>);

common_methods! { Check {
    /// There is no error among the findings.
    #[getter]
    fn ok(&self) -> bool {
        self.0.is_ok()
    }

    /// All that was found, errors first.
    #[getter]
    fn findings(&self) -> Vec<Finding> {
        self.0.findings.iter().map(|finding| Finding(Arc::new(finding.clone()))).collect()
    }

    /// Give a dict that is ready for JSON.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &json!({ "ok": self.0.is_ok(), "findings": self.0.findings }))
    }

    fn __repr__(&self) -> String {
        format!("<Check {}: {} findings>", if self.0.is_ok() { "ok" } else { "not ok" }, self.0.findings.len())
    }
} }

impl IntoPython for check::Finding {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Finding(Arc::new(self)))?.into_any())
    }
}

impl IntoPython for check::Check {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Check(Arc::new(self)))?.into_any())
    }
}
