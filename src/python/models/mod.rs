//! The models as frozen Python classes. Each holds its core value; what Python asks for is made when it is asked for.

mod action;
pub mod check;
mod command;
mod inventory;
mod limits;
pub(crate) mod pickle;
mod results;
pub(crate) mod values;

use std::sync::Arc;

use pyo3::prelude::*;
use serde_json::Value;

pub use action::MachineAction;
pub use command::Command;
pub use inventory::{LibraryFile, Machine};
pub use limits::{Limits, Rate};
pub(crate) use pickle::common_methods;
pub use pickle::restore;
pub use results::{CollectedFile, CommandResult, ScriptOutput, SessionResult};

use crate::model;
use crate::python::runtime::IntoPython;
use crate::session;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Command>()?;
    module.add_class::<Rate>()?;
    module.add_class::<Limits>()?;
    module.add_class::<ScriptOutput>()?;
    module.add_class::<CollectedFile>()?;
    module.add_class::<CommandResult>()?;
    module.add_class::<MachineAction>()?;
    module.add_class::<SessionResult>()?;
    module.add_class::<Machine>()?;
    module.add_class::<LibraryFile>()
}

pub fn action_to_python(py: Python<'_>, action: model::MachineAction) -> PyResult<Py<PyAny>> {
    action.into_python(py)
}

/// Machines as the service described them, of an error that tells of several.
pub fn candidate_machines(py: Python<'_>, described: &[Value]) -> PyResult<Vec<Py<Machine>>> {
    let known = described
        .iter()
        .filter_map(|raw| model::decode_entity::<model::Machine>(raw.to_string().as_bytes()).ok());
    known.map(|machine| Py::new(py, Machine::from(machine))).collect()
}

macro_rules! into_python {
    ($($core:ty => $class:ident),*) => {$(
        impl From<$core> for $class {
            fn from(value: $core) -> Self {
                Self(Arc::new(value))
            }
        }

        impl IntoPython for $core {
            fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(Py::new(py, $class::from(self))?.into_any())
            }
        }
    )*};
}

into_python! {
    model::Command => Command,
    model::MachineAction => MachineAction,
    model::Machine => Machine,
    model::LibraryFile => LibraryFile,
    model::ScriptOutput => ScriptOutput,
    model::CollectedFile => CollectedFile,
    session::CommandResult => CommandResult,
    session::SessionResult => SessionResult
}
