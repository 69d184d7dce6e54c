//! The paths under `/__box/` and their methods.

use bytes::Bytes;
use http::{Method, Request};
use percent_encoding::percent_decode_str;

use crate::emulator::Emulator;
use crate::emulator::control::entries::Section;
use crate::emulator::http_control::answers::{Answered, Refusal, ok};
use crate::emulator::http_control::reads::Reading;
use crate::emulator::http_control::writes::Writing;
use crate::emulator::http_control::{ROOT, writes};

/// What a path is for.
enum Target {
    Reading(Reading),
    Writing(Writing),
    Section(Section),
    Machine(String),
}

/// The methods of a target.
const READ: &str = "GET, HEAD";
const WRITE: &str = "POST";
const BOTH: &str = "GET, HEAD, POST";

/// Answers a request. A refusal is an error of its sender.
pub fn answer(emulator: &Emulator, request: &Request<Bytes>) -> Answered {
    let path = request.uri().path();
    let target = Target::of(path)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let writes = *request.method() == Method::POST;
    let query = request.uri().query().unwrap_or("");
    match target {
        Target::Reading(reading) if reads => reading.answer(emulator, query),
        Target::Reading(Reading::Switches) if writes => {
            writes::set_switches(emulator, request.body())
        }
        Target::Section(section) if reads => Reading::Section(section).answer(emulator, query),
        Target::Section(section) if writes => writes::add(emulator, section, request.body()),
        Target::Machine(machine) if reads => read_machine(emulator, &machine),
        Target::Machine(machine) if writes => {
            writes::change_machine(emulator, &machine, request.body())
        }
        Target::Writing(action) if writes => action.answer(emulator, request.body()),
        target => Err(Refusal::wrong_method(path, target.methods())),
    }
}

fn read_machine(emulator: &Emulator, machine: &str) -> Answered {
    Ok(ok(&emulator.machine_json(machine)?))
}

impl Target {
    fn of(path: &str) -> Result<Self, Refusal> {
        let rest = path.strip_prefix(ROOT).unwrap_or(path);
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        // Split first: an encoded slash belongs to a name.
        if let Some(machine) = rest.strip_prefix("machines/").filter(|name| !name.contains('/')) {
            return Ok(Self::Machine(percent_decode_str(machine).decode_utf8_lossy().into_owned()));
        }
        let section = Section::from_name(rest).map(Self::Section);
        let reading = || Reading::from_name(rest).map(Self::Reading);
        let action = || Writing::from_name(rest).map(Self::Writing);
        section.or_else(reading).or_else(action).ok_or_else(|| {
            let names = all_names().join(", ");
            Refusal::not_found(format!("there is no such path; under {ROOT}/ there are {names}"))
        })
    }

    fn methods(&self) -> &'static str {
        match self {
            Self::Reading(Reading::Switches) | Self::Section(_) | Self::Machine(_) => BOTH,
            Self::Reading(_) => READ,
            Self::Writing(_) => WRITE,
        }
    }
}

fn all_names() -> Vec<&'static str> {
    let sections = Section::ALL.map(Section::name);
    let actions = Writing::ALL.map(Writing::name);
    let readings = Reading::NAMED.map(|(name, _)| name);
    readings.into_iter().chain(sections).chain(actions).filter(|name| !name.is_empty()).collect()
}
