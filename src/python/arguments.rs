//! Conversion of arguments that several methods take.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::python::errors::type_error;
use crate::python::gil_gate::{call_python, enter};
use crate::python::models::{Command, CommandResult, Machine};

/// `str | Machine`.
pub enum MachineArgument {
    Id(String),
    Name(String),
}

impl<'py> FromPyObject<'_, 'py> for MachineArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(machine) = object.cast::<Machine>() {
            return Ok(Self::Id(machine.get().id()));
        }
        let name: String = object
            .extract()
            .map_err(|_| type_error("machine", "a machine id, a name or a Machine", &object))?;
        let name = name.trim().to_owned();
        // One spelling for each machine: its id is a key in the state store.
        Ok(if crate::model::is_machine_id(&name) {
            Self::Id(name.to_ascii_lowercase())
        } else {
            Self::Name(name)
        })
    }
}

impl MachineArgument {
    /// Returns the id or name as text.
    pub fn into_text(self) -> String {
        match self {
            Self::Id(text) | Self::Name(text) => text,
        }
    }

    /// Returns the machine's id. A name is looked up.
    pub async fn resolve_id(self, pipeline: &Pipeline) -> Result<String> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Name(name) => Ok(pipeline.resolve_machine(&name).await?.id),
        }
    }
}

/// `Command | Sequence[Command]`.
pub struct CommandsArgument(pub Vec<crate::model::Command>);

impl<'py> FromPyObject<'_, 'py> for CommandsArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(command) = object.cast::<Command>() {
            return Ok(Self(vec![command.get().core().clone()]));
        }
        let what = "a Command or a sequence of them";
        let items = read_items(&object).map_err(|_| type_error("commands", what, &object))??;
        let commands = items.iter().map(|item| {
            let command =
                item.cast::<Command>().map_err(|_| type_error("commands", what, &item))?;
            Ok(command.get().core().clone())
        });
        commands.collect::<PyResult<_>>().map(Self)
    }
}

/// `int | CommandResult`: a command's index in its session.
pub struct CommandIndex(pub u32);

impl<'py> FromPyObject<'_, 'py> for CommandIndex {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(result) = object.cast::<CommandResult>() {
            return Ok(Self(result.get().command_index()));
        }
        let index: i64 = object
            .extract()
            .map_err(|_| type_error("command", "an index or a CommandResult", &object))?;
        u32::try_from(index).map(Self).map_err(|_| {
            let error = Error::invalid(format!("{index} is not the index of a command"));
            error.with_hint("give the command's index, from 0, or its CommandResult").into()
        })
    }
}

/// `top`: how many items to list at most, 1 or more.
pub struct Top(pub u32);

impl<'py> FromPyObject<'_, 'py> for Top {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let top: i64 = object.extract()?;
        if top < 1 {
            let error = Error::invalid(format!("top is {top}"));
            return Err(error.with_hint("give 1 or more, or None to read every page").into());
        }
        // No list is that long, so the largest number has the same effect.
        Ok(Self(u32::try_from(top).unwrap_or(u32::MAX)))
    }
}

/// Reads `"raise" | "wait"`. Returns whether to wait.
pub fn parse_on_busy(on_busy: &str) -> Result<bool> {
    match on_busy {
        "raise" => Ok(false),
        "wait" => Ok(true),
        _ => Err(Error::invalid(format!("on_busy is {on_busy:?}"))
            .with_hint("give \"raise\" or \"wait\"")),
    }
}

/// Returns the items of the caller's iterable, which may be a generator. The outer error means
/// that it is none.
pub fn read_items<'py>(object: &Bound<'py, PyAny>) -> PyResult<PyResult<Bound<'py, PyList>>> {
    let py = object.py();
    let items = {
        let _inside = enter(py);
        object.try_iter()?
    };
    let list = call_python(py.get_type::<PyList>().as_any(), (items,));
    Ok(list.and_then(|list| Ok(list.cast_into()?)))
}
