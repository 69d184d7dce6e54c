//! `LibraryPlan`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::shared::Shared;
use super::values::LazyTuple;
use crate::library;

/// The changes made to the library, or with `dry_run` the changes that would be made, as file
/// names.
#[pyclass(frozen, module = "mde_live_response")]
pub struct LibraryPlan {
    core: Shared<library::LibraryPlan>,
    add: LazyTuple,
    replace: LazyTuple,
    describe: LazyTuple,
    delete: LazyTuple,
    leave: LazyTuple,
    others: LazyTuple,
    conflicts: LazyTuple,
}

into_model! {
    library::LibraryPlan => LibraryPlan { add, replace, describe, delete, leave, others, conflicts }
}

json_dict!(library::LibraryPlan, |plan| {
    "add": plan.add,
    "replace": plan.replace,
    "describe": plan.describe,
    "delete": plan.delete,
    "leave": plan.leave,
    "others": plan.others,
    "conflicts": plan.conflicts,
});

common_methods! {
    LibraryPlan;
    equal: |one, other| one == other;
    hash: |plan| (&plan.add, &plan.replace, &plan.describe, &plan.delete, &plan.leave);
    methods {
        /// Files that are added.
        #[getter]
        fn add<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.add.get_or_build(py, || Ok(self.core.add.clone()))
        }

        /// Files whose content is replaced.
        #[getter]
        fn replace<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.replace.get_or_build(py, || Ok(self.core.replace.clone()))
        }

        /// Files of which only the description or the parameters change.
        #[getter]
        fn describe<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.describe.get_or_build(py, || Ok(self.core.describe.clone()))
        }

        /// Files that are deleted.
        #[getter]
        fn delete<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.delete.get_or_build(py, || Ok(self.core.delete.clone()))
        }

        /// Files that stay as they are.
        #[getter]
        fn leave<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.leave.get_or_build(py, || Ok(self.core.leave.clone()))
        }

        /// Files that others uploaded. They are never touched.
        #[getter]
        fn others<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.others.get_or_build(py, || Ok(self.core.others.clone()))
        }

        /// Those of `others` that the folder of a sync has with other content. Not synced.
        #[getter]
        fn conflicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
            self.conflicts.get_or_build(py, || Ok(self.core.conflicts.clone()))
        }

        fn __repr__(&self) -> String {
            let library::LibraryPlan { add, replace, describe, delete, leave, others, conflicts } =
                &*self.core;
            format!(
                "<LibraryPlan: add {}, replace {}, describe {}, delete {}, leave {}, others {}, \
                 conflicts {}>",
                add.len(),
                replace.len(),
                describe.len(),
                delete.len(),
                leave.len(),
                others.len(),
                conflicts.len()
            )
        }
    }
}
