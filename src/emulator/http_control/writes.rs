//! What the control does for a POST.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::emulator::Emulator;
use crate::emulator::clock::format_time;
use crate::emulator::control::entries::machine::MachineChange;
use crate::emulator::control::entries::{Entry, Section};
use crate::emulator::control::fields::Fields;
use crate::emulator::http_control::answers::{Answered, Refusal, json_response, ok};
use crate::emulator::login::tokens::ROLES;
use crate::error::{Error, Result};

/// Something to do that adds no entry.
#[derive(Clone, Copy, Debug)]
pub enum Writing {
    Reset,
    Advance,
    Tokens,
}

impl Writing {
    pub const ALL: [Self; 3] = [Self::Reset, Self::Advance, Self::Tokens];

    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Advance => "advance",
            Self::Tokens => "tokens",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    pub fn answer(self, emulator: &Emulator, body: &Bytes) -> Answered {
        let given = match self {
            Self::Reset if body.is_empty() => Map::new(),
            _ => object(body)?,
        };
        Ok(ok(&match self {
            Self::Reset => reset(emulator, given)?,
            Self::Advance => advance(emulator, given)?,
            Self::Tokens => token(emulator, given)?,
        }))
    }
}

fn reset(emulator: &Emulator, given: Map<String, Value>) -> Result<Value> {
    Fields::new("reset", given, &[])?;
    emulator.reset();
    Ok(json!({}))
}

fn advance(emulator: &Emulator, given: Map<String, Value>) -> Result<Value> {
    let mut fields = Fields::new("advance", given, &["seconds"])?;
    let Some(seconds) = fields.seconds("seconds")? else { return Err(fields.missing("seconds")) };
    emulator.advance(seconds);
    Ok(json!({ "time": format_time(emulator.lock_now().1) }))
}

/// Returns a token with the roles, or with all of them.
fn token(emulator: &Emulator, given: Map<String, Value>) -> Result<Value> {
    let mut fields = Fields::new("token", given, &["roles"])?;
    let roles = match fields.take("roles") {
        None => ROLES.map(str::to_owned).to_vec(),
        Some(value) => match serde_json::from_value::<Vec<String>>(value.clone()) {
            Ok(roles) => roles,
            Err(_) => return Err(fields.wrong("roles", &value, "a list of strings")),
        },
    };
    Ok(json!({ "token": emulator.token_with(roles) }))
}

/// Adds an entry of a section.
pub fn add(emulator: &Emulator, section: Section, body: &Bytes) -> Answered {
    let entry = Entry::parse(section, object(body)?, None)?;
    Ok(json_response(StatusCode::CREATED, &emulator.add_entry(entry)?))
}

pub fn change_machine(emulator: &Emulator, machine: &str, body: &Bytes) -> Answered {
    let given = object(body)?;
    // An unknown machine is the first mistake to name.
    emulator.machine_json(machine)?;
    Ok(ok(&emulator.change_machine(machine, MachineChange::parse(given)?)?))
}

/// Changes the given switches, and returns all of them.
pub fn set_switches(emulator: &Emulator, body: &Bytes) -> Answered {
    emulator.change_switches(object(body)?)?;
    Ok(ok(&emulator.switches_json()))
}

/// Reads the JSON object of a body.
fn object(body: &Bytes) -> std::result::Result<Map<String, Value>, Refusal> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Error::invalid("the body must be a JSON object").into()),
        Err(error) => Err(Error::invalid(format!("the body is not JSON: {error}")).into()),
    }
}
