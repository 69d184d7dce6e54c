//! Pickling of models: the class's name and the model's JSON.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::python::convert::IntoPython;
use crate::python::gil_gate::enter;

/// What `__reduce__` returns: the function that restores an object, and its arguments.
pub type ReduceValue<'py> = (Bound<'py, PyAny>, (&'static str, Bound<'py, PyBytes>));

pub fn reduce<'py>(
    py: Python<'py>,
    class: &'static str,
    model: &impl Serialize,
) -> PyResult<ReduceValue<'py>> {
    let state =
        serde_json::to_vec(model).map_err(|error| PyValueError::new_err(error.to_string()))?;
    reduce_state(py, class, &state)
}

/// Returns what `__reduce__` returns for a state that is not only JSON.
pub fn reduce_state<'py>(
    py: Python<'py>,
    class: &'static str,
    state: &[u8],
) -> PyResult<ReduceValue<'py>> {
    let _inside = enter(py);
    // A pickle refers to a function by its module and name.
    let restore = py.import("mde_live_response._native")?.getattr("_restore")?;
    Ok((restore, (class, PyBytes::new(py, state))))
}

/// Makes a model from its pickled JSON.
pub fn restore_model<T: DeserializeOwned + IntoPython>(
    py: Python<'_>,
    state: &[u8],
) -> PyResult<Py<PyAny>> {
    let model: T =
        serde_json::from_slice(state).map_err(|error| PyValueError::new_err(error.to_string()))?;
    model.into_python(py)
}
