//! What the command line shows an operator of a state store.

use pyo3::prelude::*;
use serde::Serialize;

use super::arguments::Seconds;
use super::models::values;
use super::runtime::{Call, IntoPython, run_blocking};
use crate::state::operator::{self, Holding, Removed};

/// What goes to Python as plain dicts.
struct Plain<T>(T);

impl<T: Serialize + Send + 'static> IntoPython for Plain<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        values::json(py, &self.0).map(Bound::unbind)
    }
}

/// Tell what a state store holds, one dict for each quota key.
#[pyfunction]
pub fn state_show(py: Python<'_>, address: String) -> PyResult<Py<PyAny>> {
    let shown = async move { operator::show(&address).await.map(Plain::<Vec<Holding>>) };
    run_blocking(py, Call::alone(shown))
}

/// Remove from a state store what is older than so many seconds, less what is open.
#[pyfunction]
pub fn state_prune(py: Python<'_>, address: String, older_than: Seconds) -> PyResult<Py<PyAny>> {
    let pruned = async move { operator::prune(&address, older_than.0).await.map(Plain::<Vec<Removed>>) };
    run_blocking(py, Call::alone(pruned))
}
