//! Conversion of the arguments of `run_many`.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyMapping;

use crate::error::{Error, Result};
use crate::fleet::RunSpec;
use crate::model::Command;
use crate::python::arguments::{Argument, CommandsArgument, Refusal, Shape, read_items};
use crate::python::fleet::until::UntilArgument;
use crate::python::gil_gate::enter;
use crate::python::models::Machine;
use crate::python::seconds::Seconds;
use crate::session::SaveTo;

/// `Iterable[str | Machine]`.
pub struct MachinesArgument(Vec<FleetMachine>);

/// A machine of a run: a name or an id as text, and for a Machine also its name.
struct FleetMachine {
    text: String,
    name: Option<String>,
}

impl FleetMachine {
    fn read<'py>(object: &Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        match object.cast::<Machine>() {
            Ok(machine) => Ok(Self { text: machine.get().id(), name: machine.get().name() }),
            Err(_) => <&str>::read(object)
                .map(|text| Self { text: text.to_owned(), name: None })
                .map_err(|refusal| match refusal {
                    Refusal::Type => Refusal::Item(object.clone()),
                    other => other,
                }),
        }
    }
}

impl<'a, 'py> Argument<'a, 'py> for MachinesArgument {
    const TAKES: &'static str = "an iterable of machine ids, names or Machines";
    const SHAPE: Shape = Shape::List;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let machines = read_items(object)?.into_iter().map(|item| FleetMachine::read(&item));
        machines.collect::<Result<_, _>>().map(Self)
    }
}

/// `Commands | Mapping[str | Machine, Commands]`.
pub enum FleetCommands {
    Shared(Vec<Command>),
    PerMachine(Vec<(String, Vec<Command>)>),
}

impl<'a, 'py> Argument<'a, 'py> for FleetCommands {
    const TAKES: &'static str =
        "a Command or a sequence of them, or a mapping of each machine to its commands";
    const SHAPE: Shape = Shape::Commands;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let _inside = enter(object.py());
        let Ok(mapping) = object.cast::<PyMapping>() else {
            return CommandsArgument::read(object).map(|commands| Self::Shared(commands.0));
        };
        let pair = |item: PyResult<Bound<'py, PyAny>>| {
            let (machine, commands): (Bound<'py, PyAny>, Bound<'py, PyAny>) = item?.extract()?;
            let machine = FleetMachine::read(&machine)?.text;
            match CommandsArgument::read(&commands) {
                Ok(commands) => Ok((machine, commands.0)),
                Err(Refusal::Type) => Err(Refusal::Item(commands.clone())),
                Err(other) => Err(other),
            }
        };
        mapping.items()?.try_iter()?.map(pair).collect::<Result<_, _>>().map(Self::PerMachine)
    }
}

/// Returns the core's description of a run. Checks it before any request is sent.
pub fn run_spec(
    machines: MachinesArgument,
    commands: FleetCommands,
    comment: String,
    save_to: Option<SaveTo>,
    run_id: Option<String>,
    cancel_pending_after: Option<Seconds>,
    until: Option<UntilArgument>,
) -> Result<RunSpec> {
    if machines.0.is_empty() {
        return Err(Error::invalid("there are no machines").with_hint(
            "the list is empty, or no machine satisfies the conditions of list_machines()",
        ));
    }
    let (texts, names) = split_names(machines.0);
    let (machines, commands) = assign_commands(texts, commands)?;
    let save_transcripts = save_to.as_ref().is_some_and(|save_to| save_to.transcripts);
    let save_to = save_to.map(|save_to| absolute_folder(save_to.folder)).transpose()?;
    let cancel_pending_after = cancel_pending_after.map(|seconds| seconds.0);
    let spec = RunSpec {
        machines,
        names,
        commands,
        comment,
        save_to,
        save_transcripts,
        run_id,
        cancel_pending_after,
        until: until.map(|it| it.0),
    };
    spec.check()?;
    Ok(spec)
}

/// Returns the machines as text, and the names of those whose id and name are known.
fn split_names(machines: Vec<FleetMachine>) -> (Vec<String>, HashMap<String, String>) {
    let names = machines.iter().filter_map(|it| Some((it.text.clone(), it.name.clone()?)));
    let names = names.collect();
    (machines.into_iter().map(|machine| machine.text).collect(), names)
}

/// Each machine with the index of its commands, and the distinct commands.
type AssignedCommands = (Vec<(String, usize)>, Vec<Vec<Command>>);

fn assign_commands(machines: Vec<String>, commands: FleetCommands) -> Result<AssignedCommands> {
    let by_machine = match commands {
        FleetCommands::Shared(commands) => {
            return Ok((
                machines.into_iter().map(|machine| (machine, 0)).collect(),
                vec![commands],
            ));
        }
        FleetCommands::PerMachine(by_machine) => by_machine,
    };
    let (keys, commands): (Vec<_>, Vec<_>) = by_machine.into_iter().unzip();
    let index_by_machine: HashMap<&String, usize> = keys.iter().zip(0..).collect();
    let assigned = machines.into_iter().map(|machine| match index_by_machine.get(&machine) {
        Some(index) => Ok((machine, *index)),
        None => Err(Error::invalid(format!("there are no commands for machine {machine:?}"))
            .with_hint("give commands for each machine; the key is the machine as passed")),
    });
    Ok((assigned.collect::<Result<_>>()?, commands))
}

fn absolute_folder(path: PathBuf) -> Result<String> {
    // A process that resumes the run may have another working folder.
    let absolute =
        std::path::absolute(&path).map_err(|error| Error::io("save to", &path, error))?;
    absolute.into_os_string().into_string().map_err(|_| {
        Error::invalid(format!("save_to is {}, which is not UTF-8", path.display()))
            .with_hint("the run is stored with its folder: give one whose path is UTF-8")
    })
}
