//! The functions behind the commands `state show` and `state prune`.

use pyo3::prelude::*;
use serde::Serialize;

use super::fork_hooks::get_or_create_quotas;
use crate::python::arguments::named;
use crate::python::convert::IntoPython;
use crate::python::models::values;
use crate::python::runtime::{CoreTask, run_blocking};
use crate::python::seconds::Seconds;
use crate::state::inspect::{self, QuotaPruned, QuotaSnapshot};
use crate::state::store::Pruned;

/// A value that becomes plain dicts and lists.
struct ToDicts<T>(T);

impl<T: Serialize + Send + 'static> IntoPython for ToDicts<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        values::to_python_object(py, &self.0).map(Bound::unbind)
    }
}

/// Return what a state store contains: one dict for each quota key.
#[pyfunction]
pub fn show_state(
    py: Python<'_>,
    #[pyo3(from_py_with = named::address)] address: String,
) -> PyResult<Py<PyAny>> {
    let shown =
        async move { inspect::snapshot_all(&address).await.map(ToDicts::<Vec<QuotaSnapshot>>) };
    run_blocking(py, CoreTask::without_client(shown))
}

/// Delete entries of a state store that are older than `older_than` seconds and not open.
#[pyfunction]
pub fn prune_state(
    py: Python<'_>,
    #[pyo3(from_py_with = named::address)] address: String,
    #[pyo3(from_py_with = named::older_than)] older_than: Seconds,
) -> PyResult<Py<PyAny>> {
    let pruned = async move {
        inspect::prune(&address, older_than.0).await.map(ToDicts::<Vec<QuotaPruned>>)
    };
    run_blocking(py, CoreTask::without_client(pruned))
}

/// Delete entries of this process's memory stores that are older than `older_than` seconds and
/// not open.
#[pyfunction]
pub fn prune_memory(
    py: Python<'_>,
    #[pyo3(from_py_with = named::older_than)] older_than: Seconds,
) -> PyResult<Py<PyAny>> {
    let quotas = get_or_create_quotas(py);
    let pruned = async move { quotas.prune_memory(older_than.0).await.map(ToDicts::<Vec<Pruned>>) };
    run_blocking(py, CoreTask::without_client(pruned))
}
