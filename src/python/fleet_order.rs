//! What `run_many` takes, as the core takes it.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMapping, PyString};

use super::arguments::{CommandsArgument, Seconds};
use super::errors::to_python;
use super::models::Machine;
use crate::error::{Error, Result};
use crate::fleet::Order;
use crate::model::Command;

/// `Iterable[str | Machine]`.
pub struct MachinesArgument(Vec<String>);

impl<'py> FromPyObject<'_, 'py> for MachinesArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let what = "machines takes an iterable of machine ids, names or Machines";
        if object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>() {
            return Err(PyTypeError::new_err(format!("{what}, not one string")));
        }
        let items = object.try_iter().map_err(|_| PyTypeError::new_err(what))?;
        let machine = |item: PyResult<Bound<'py, PyAny>>| {
            let item = item?;
            match item.cast::<Machine>() {
                Ok(machine) => Ok(machine.get().id()),
                Err(_) => item.extract().map_err(|_| PyTypeError::new_err(what)),
            }
        };
        items.map(machine).collect::<PyResult<_>>().map(Self)
    }
}

/// `Commands | Mapping[str, Commands]`.
pub enum EachCommands {
    Same(Vec<Command>),
    Own(Vec<(String, Vec<Command>)>),
}

impl<'py> FromPyObject<'_, 'py> for EachCommands {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let Ok(mapping) = object.cast::<PyMapping>() else {
            return object.extract::<CommandsArgument>().map(|commands| Self::Same(commands.0));
        };
        let pair = |item: PyResult<Bound<'py, PyAny>>| {
            let (machine, commands): (String, CommandsArgument) = item?.extract()?;
            Ok((machine, commands.0))
        };
        mapping.items()?.try_iter()?.map(pair).collect::<PyResult<_>>().map(Self::Own)
    }
}

/// The order of a run. What is wrong with it is said before any request.
pub fn order(
    py: Python<'_>,
    machines: MachinesArgument,
    commands: EachCommands,
    comment: String,
    save_to: Option<PathBuf>,
    run_id: Option<String>,
    cancel_pending_after: Option<Seconds>,
) -> PyResult<Order> {
    let order = || {
        let (machines, commands) = place(machines.0, commands)?;
        let save_to = save_to.map(folder).transpose()?;
        let cancel_pending_after = cancel_pending_after.map(|seconds| seconds.0);
        let order = Order { machines, commands, comment, save_to, run_id, cancel_pending_after };
        order.check()?;
        Ok(order)
    };
    order().map_err(|error| to_python(py, error))
}

type Placed = (Vec<(String, usize)>, Vec<Vec<Command>>);

fn place(machines: Vec<String>, commands: EachCommands) -> Result<Placed> {
    let own = match commands {
        EachCommands::Same(commands) => {
            return Ok((machines.into_iter().map(|machine| (machine, 0)).collect(), vec![commands]));
        }
        EachCommands::Own(own) => own,
    };
    let (keys, commands): (Vec<_>, Vec<_>) = own.into_iter().unzip();
    let places: HashMap<&String, usize> = keys.iter().zip(0..).collect();
    let placed = machines.into_iter().map(|machine| match places.get(&machine) {
        Some(at) => Ok((machine, *at)),
        None => Err(Error::invalid(format!("there are no commands for machine {machine:?}"))
            .with_hint("give commands for each machine, by the machine as given")),
    });
    Ok((placed.collect::<Result<_>>()?, commands))
}

/// As whoever resumes the run finds it, from whatever folder.
fn folder(path: PathBuf) -> Result<String> {
    let whole = std::path::absolute(&path).map_err(|error| Error::io("save to", &path, error))?;
    whole.into_os_string().into_string().map_err(|_| {
        Error::invalid(format!("save_to is {}, which is not UTF-8", path.display()))
            .with_hint("the run is written down with its folder: give one whose name is UTF-8")
    })
}
