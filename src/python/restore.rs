//! The table of classes that can be pickled.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::python::fleet::outcome::Outcome;
use crate::python::fleet::report::FleetReport;
use crate::python::models::pickle::restore_model;
use crate::python::models::restore_command;
use crate::state::run_store::RunSummary;
use crate::{check, config, library, model, probe, session};

/// Make an object from what its `__reduce__` returned.
#[pyfunction]
#[pyo3(name = "_restore")]
pub fn restore(py: Python<'_>, class: &str, state: &[u8]) -> PyResult<Py<PyAny>> {
    match class {
        "Command" => restore_command(py, state),
        "ScriptOutput" => restore_model::<model::ScriptOutput>(py, state),
        "CollectedFile" => restore_model::<model::CollectedFile>(py, state),
        "CommandResult" => restore_model::<session::CommandResult>(py, state),
        "MachineAction" => restore_model::<model::MachineAction>(py, state),
        "SessionResult" => restore_model::<session::SessionResult>(py, state),
        "Limits" => restore_model::<config::Limits>(py, state),
        "Machine" => restore_model::<model::Machine>(py, state),
        "LibraryFile" => restore_model::<model::LibraryFile>(py, state),
        "LibraryPlan" => restore_model::<library::LibraryPlan>(py, state),
        "Run" => restore_model::<RunSummary>(py, state),
        "Finding" => restore_model::<check::Finding>(py, state),
        "Check" => restore_model::<check::Check>(py, state),
        "Profile" => restore_model::<probe::Profile>(py, state),
        "Outcome" => Outcome::from_pickle(py, state),
        "FleetReport" => FleetReport::from_pickle(py, state),
        _ => Err(PyValueError::new_err(format!("there is no model {class}"))),
    }
}
