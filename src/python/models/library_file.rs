//! `LibraryFile`.

use pyo3::prelude::*;
use pyo3::types::PyDateTime;

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::shared::Shared;
use super::values;
use crate::model;

/// A file in the live response library. Unknown fields are in `raw`.
///
/// The service's page: learn.microsoft.com/defender-endpoint/api/list-library-files
#[pyclass(frozen, module = "mde_live_response")]
pub struct LibraryFile {
    core: Shared<model::LibraryFile>,
}

into_model! { model::LibraryFile => LibraryFile {} }

json_dict! { model::LibraryFile, |file| {
    "file_name": file.file_name,
    "sha256": file.sha256,
    "description": file.description,
    "creation_time": file.creation_time,
    "last_updated_time": file.last_updated_time,
    "created_by": file.created_by,
    "has_parameters": file.has_parameters,
    "parameters_description": file.parameters_description,
    "changed": file.changed,
} }

common_methods! {
    LibraryFile;
    equal: |one, other| one == other;
    hash: |file| (&file.file_name, &file.sha256);
    methods {
        /// The name. It is unique in the library.
        #[getter]
        fn file_name(&self) -> &str {
            &self.core.file_name
        }

        /// SHA-256 of the content, in lower-case hexadecimal.
        #[getter]
        fn sha256(&self) -> Option<&str> {
            self.core.sha256.as_deref()
        }

        /// What the file is for.
        #[getter]
        fn description(&self) -> Option<&str> {
            self.core.description.as_deref()
        }

        /// When it was first uploaded.
        #[getter]
        fn creation_time<'py>(
            &self,
            py: Python<'py>,
        ) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.creation_time)
        }

        /// When it was last uploaded.
        #[getter]
        fn last_updated_time<'py>(
            &self,
            py: Python<'py>,
        ) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.last_updated_time)
        }

        /// The user or application that uploaded it.
        #[getter]
        fn created_by(&self) -> Option<&str> {
            self.core.created_by.as_deref()
        }

        /// Whether it takes arguments.
        #[getter]
        fn has_parameters(&self) -> Option<bool> {
            self.core.has_parameters
        }

        /// What arguments it takes.
        #[getter]
        fn parameters_description(&self) -> Option<&str> {
            self.core.parameters_description.as_deref()
        }

        /// Whether `ensure` uploaded it. None unless `ensure` returned this object.
        #[getter]
        fn changed(&self) -> Option<bool> {
            self.core.changed
        }

        /// The service's complete JSON.
        #[getter]
        fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            values::parse_raw(py, &self.core.raw)
        }

        fn __repr__(&self) -> String {
            format!("<LibraryFile {:?}>", self.core.file_name)
        }
    }
}
