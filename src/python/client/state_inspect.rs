//! What the command line shows an operator of a state store.

use pyo3::prelude::*;
use serde::Serialize;

use crate::python::arguments::Seconds;
use crate::python::models::values;
use crate::python::runtime::{CoreTask, IntoPython, run_blocking};
use crate::state::inspect::{self, QuotaPruned, QuotaSnapshot};

/// What goes to Python as plain dicts.
struct ToDicts<T>(T);

impl<T: Serialize + Send + 'static> IntoPython for ToDicts<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        values::to_python_object(py, &self.0).map(Bound::unbind)
    }
}

/// Tell what a state store holds, one dict for each quota key.
#[pyfunction]
pub fn show_state(py: Python<'_>, address: String) -> PyResult<Py<PyAny>> {
    let shown =
        async move { inspect::snapshot_all(&address).await.map(ToDicts::<Vec<QuotaSnapshot>>) };
    run_blocking(py, CoreTask::without_client(shown))
}

/// Remove from a state store what is older than so many seconds, less what is open.
#[pyfunction]
pub fn prune_state(py: Python<'_>, address: String, older_than: Seconds) -> PyResult<Py<PyAny>> {
    let pruned = async move {
        inspect::prune(&address, older_than.0).await.map(ToDicts::<Vec<QuotaPruned>>)
    };
    run_blocking(py, CoreTask::without_client(pruned))
}
