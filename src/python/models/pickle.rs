//! Pickling: a model is its class's name and its JSON.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model;
use crate::python::runtime::IntoPython;
use crate::session;

/// What `__reduce__` gives: how to make the model again, and of what.
pub type ReduceValue<'py> = (Bound<'py, PyAny>, (&'static str, Bound<'py, PyBytes>));

pub fn reduce<'py>(
    py: Python<'py>,
    class: &'static str,
    model: &impl Serialize,
) -> PyResult<ReduceValue<'py>> {
    let state =
        serde_json::to_vec(model).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let restore = py.import("mde_live_response._native")?.getattr("_restore")?;
    Ok((restore, (class, PyBytes::new(py, &state))))
}

/// Makes a model again from what `__reduce__` gave.
#[pyfunction]
#[pyo3(name = "_restore")]
pub fn restore(py: Python<'_>, class: &str, state: &[u8]) -> PyResult<Py<PyAny>> {
    match class {
        "Command" => restore_model::<model::Command>(py, state),
        "ScriptOutput" => restore_model::<model::ScriptOutput>(py, state),
        "CollectedFile" => restore_model::<model::CollectedFile>(py, state),
        "CommandResult" => restore_model::<session::CommandResult>(py, state),
        "MachineAction" => restore_model::<model::MachineAction>(py, state),
        "SessionResult" => restore_model::<session::SessionResult>(py, state),
        "Limits" => restore_model::<crate::config::Limits>(py, state),
        "Machine" => restore_model::<model::Machine>(py, state),
        "LibraryFile" => restore_model::<model::LibraryFile>(py, state),
        "Finding" => restore_model::<crate::check::Finding>(py, state),
        "Check" => restore_model::<crate::check::Check>(py, state),
        "Outcome" => crate::python::fleet::outcome::Outcome::from_pickle(py, state),
        "FleetReport" => crate::python::fleet::report::FleetReport::from_pickle(py, state),
        _ => Err(PyValueError::new_err(format!("there is no model {class}"))),
    }
}

fn restore_model<T: DeserializeOwned + IntoPython>(
    py: Python<'_>,
    state: &[u8],
) -> PyResult<Py<PyAny>> {
    let model: T =
        serde_json::from_slice(state).map_err(|error| PyValueError::new_err(error.to_string()))?;
    model.into_python(py)
}

/// What every model does alike, within its `#[pymethods]`.
macro_rules! common_methods {
    ($class:ident { $($methods:tt)* }) => {
        #[pymethods]
        impl $class {
            $($methods)*

            fn __eq__(&self, other: &Bound<'_, PyAny>) -> Option<bool> {
                let other = other.cast::<Self>().ok()?;
                Some($crate::python::models::values::is_equal(&*self.0, &*other.get().0))
            }

            fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<$crate::python::models::pickle::ReduceValue<'py>> {
                $crate::python::models::pickle::reduce(py, stringify!($class), &*self.0)
            }
        }
    };
}

pub(crate) use common_methods;
