//! Arguments that several methods take: machines, commands, bounds.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::advice::is_awaitable;
use super::{Argument, Refusal, Shape};
use crate::error::{Error, Result};
use crate::model::{is_guid, is_machine_id};
use crate::pipeline::Pipeline;
use crate::python::gil_gate::{call_python, enter};
use crate::python::models::{Command, CommandResult, Machine};

/// `str | Machine`.
pub enum MachineArgument {
    Id(String),
    Name(String),
}

impl<'a, 'py> Argument<'a, 'py> for MachineArgument {
    const TAKES: &'static str = "a machine id, a name or a Machine";
    const SHAPE: Shape = Shape::Machine;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        if let Ok(machine) = object.cast::<Machine>() {
            return Ok(Self::Id(machine.get().id()));
        }
        let name = <&str>::read(object)?.trim();
        // One spelling for each machine: its id is a key in the state store.
        Ok(if is_machine_id(name) {
            Self::Id(name.to_ascii_lowercase())
        } else {
            Self::Name(name.to_owned())
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

impl<'a, 'py> Argument<'a, 'py> for CommandsArgument {
    const TAKES: &'static str = "a Command or a sequence of them";
    const SHAPE: Shape = Shape::Commands;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        if let Ok(command) = object.cast::<Command>() {
            return Ok(Self(vec![command.get().core().clone()]));
        }
        let commands = read_items(object)?.into_iter().map(|item| match item.cast::<Command>() {
            Ok(command) => Ok(command.get().core().clone()),
            Err(_) => Err(Refusal::Item(item)),
        });
        commands.collect::<Result<_, _>>().map(Self)
    }
}

/// `int | CommandResult`: a command's index in its session.
pub struct CommandIndex(pub u32);

impl<'a, 'py> Argument<'a, 'py> for CommandIndex {
    const TAKES: &'static str = "an index or a CommandResult";
    const SHAPE: Shape = Shape::WholeNumber;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        if let Ok(result) = object.cast::<CommandResult>() {
            return Ok(Self(result.get().command_index()));
        }
        let index = i64::read(object)?;
        u32::try_from(index).map(Self).map_err(|_| {
            Refusal::Value(
                format!("is {index}, which is not the index of a command"),
                "give the command's index, from 0, or its CommandResult",
            )
        })
    }
}

/// `top`: how many items to list at most, 1 or more.
pub struct Top(pub u32);

impl<'a, 'py> Argument<'a, 'py> for Top {
    const TAKES: &'static str = "an int";
    const SHAPE: Shape = Shape::WholeNumber;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let top = i64::read(object)?;
        if top < 1 {
            let hint = "give 1 or more, or None to read every page";
            return Err(Refusal::Value(format!("is {top}"), hint));
        }
        // No list is that long, so the largest number has the same effect.
        Ok(Self(u32::try_from(top).unwrap_or(u32::MAX)))
    }
}

/// The id of a machine action.
pub struct ActionId(pub String);

impl<'a, 'py> Argument<'a, 'py> for ActionId {
    const TAKES: &'static str = "a str";
    const SHAPE: Shape = Shape::Text;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let id = <&str>::read(object)?;
        if is_guid(id) {
            return Ok(Self(id.to_owned()));
        }
        let wrong = format!("is {id:?}, which is not a machine action's id");
        Err(Refusal::Value(wrong, "give the GUID from session.id"))
    }
}

/// A function of the caller.
pub struct Callback(pub Py<PyAny>);

impl<'a, 'py> Argument<'a, 'py> for Callback {
    const TAKES: &'static str = "a function";
    const SHAPE: Shape = Shape::Function;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        if object.is_callable() { Ok(Self(object.clone().unbind())) } else { Err(Refusal::Type) }
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

/// Returns the items of the caller's iterable, which may be a generator.
///
/// Refuses one str, and a coroutine: both can be iterated, but the caller made a mistake.
pub fn read_items<'py>(object: &Bound<'py, PyAny>) -> Result<Bound<'py, PyList>, Refusal<'py>> {
    let py = object.py();
    let _inside = enter(py);
    let is_text = object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>();
    if is_text || is_awaitable(object) {
        return Err(Refusal::Type);
    }
    let items = object.try_iter().map_err(|error| Refusal::from_conversion(py, error))?;
    Ok(call_python(py.get_type::<PyList>().as_any(), (items,))?.cast_into().map_err(PyErr::from)?)
}
