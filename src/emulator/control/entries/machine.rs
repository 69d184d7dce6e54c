//! A machine as an entry: the parameters of `add_machine`, and changes of one that is there.

use serde_json::{Map, Value, json};

use crate::emulator::Emulator;
use crate::emulator::clock::ticks;
use crate::emulator::control::entries::shown_seconds;
use crate::emulator::control::fields::Fields;
use crate::emulator::inventory::machine::{Machine, NewMachine};
use crate::emulator::inventory::machine_properties::{PROPERTIES, check_properties};
use crate::error::Result;

const KEYS: [&str; 6] =
    ["name", "online", "start_delay", "remediation_level", "supported", "stuck"];

/// A machine to add.
#[derive(Clone, Debug)]
pub struct MachineEntry {
    pub machine: NewMachine,
    pub stuck: bool,
}

/// What to change of a machine. `None` leaves it as it is.
#[derive(Clone, Debug)]
pub struct MachineChange {
    online: Option<bool>,
    start_delay: Option<f64>,
    remediation_level: Option<bool>,
    supported: Option<bool>,
    stuck: Option<bool>,
    properties: Map<String, Value>,
}

impl MachineEntry {
    pub fn parse(given: Map<String, Value>) -> Result<Self> {
        let mut fields = fields_of(given)?;
        let name = fields.required_text("name")?;
        let id = match fields.take("id") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(other) => return Err(fields.wrong("id", &other, "40 hexadecimal digits")),
        };
        let change = MachineChange::read(fields)?;
        let defaults = NewMachine::named(name);
        let machine = NewMachine {
            id,
            online: change.online.unwrap_or(defaults.online),
            start_delay: change.start_delay.unwrap_or(defaults.start_delay),
            remediation_level: change.remediation_level.unwrap_or(defaults.remediation_level),
            supported: change.supported.unwrap_or(defaults.supported),
            properties: change.properties,
            name: defaults.name,
        };
        machine.check()?;
        Ok(Self { machine, stuck: change.stuck.unwrap_or(false) })
    }

    /// Returns the entry of a machine.
    pub fn describe(machine: &Machine) -> Value {
        let mut entry = machine.properties.clone();
        let own = [
            ("name", json!(machine.name)),
            ("id", json!(machine.id)),
            ("online", json!(machine.online)),
            ("start_delay", json!(shown_seconds(machine.start_delay))),
            ("remediation_level", json!(machine.remediation_level)),
            ("supported", json!(machine.supported)),
            ("stuck", json!(machine.stuck_by_test)),
        ];
        entry.extend(own.map(|(name, value)| (name.to_owned(), value)));
        Value::Object(entry)
    }
}

impl MachineChange {
    /// Reads the body of a change: the keys of a machine, without those that identify it.
    pub fn parse(given: Map<String, Value>) -> Result<Self> {
        let mut fields = fields_of(given)?;
        for name in ["name", "id"] {
            if let Some(value) = fields.take(name) {
                return Err(fields.wrong(name, &value, "omitted: it cannot change"));
            }
        }
        let change = Self::read(fields)?;
        check_properties(&change.properties)?;
        Ok(change)
    }

    fn read(mut fields: Fields) -> Result<Self> {
        Ok(Self {
            online: fields.flag("online")?,
            start_delay: fields.seconds("start_delay")?,
            remediation_level: fields.flag("remediation_level")?,
            supported: fields.flag("supported")?,
            stuck: fields.flag("stuck")?,
            properties: fields.rest(),
        })
    }
}

fn fields_of(given: Map<String, Value>) -> Result<Fields> {
    let known: Vec<&str> = KEYS.into_iter().chain(PROPERTIES).collect();
    Fields::new("machine", given, &known)
}

impl Emulator {
    pub(in crate::emulator::control) fn add_machine_entry(
        &self,
        entry: MachineEntry,
    ) -> Result<Value> {
        let added = self.add_machine(entry.machine)?;
        if entry.stuck {
            self.set_stuck(&added.id, true)?;
        }
        self.machine_json(&added.id)
    }

    /// Changes a machine, by id or name, and returns it as [`machine_json`](Self::machine_json).
    pub fn change_machine(&self, machine: &str, change: MachineChange) -> Result<Value> {
        let (mut state, now) = self.lock_advanced();
        let index = state.resolve_machine(machine)?;
        if let Some(online) = change.online {
            state.set_online(index, online, now);
        }
        if let Some(known) = state.machines.get_mut(index) {
            known.start_delay = change.start_delay.map_or(known.start_delay, ticks);
            known.remediation_level = change.remediation_level.unwrap_or(known.remediation_level);
            known.supported = change.supported.unwrap_or(known.supported);
            if let Some(stuck) = change.stuck {
                (known.stuck, known.stuck_by_test) = (stuck, stuck);
            }
            known.properties.extend(change.properties);
        }
        let found = state.machines.get(index).map(|machine| machine.id.clone());
        drop(state);
        self.machine_json(&found.unwrap_or_default())
    }

    /// Returns a machine, by id or name: how it is configured, its open session, and its entity as
    /// the API shows it.
    pub fn machine_json(&self, machine: &str) -> Result<Value> {
        let (state, _) = self.lock_advanced();
        let index = state.resolve_machine(machine)?;
        let Some(known) = state.machines.get(index) else { return Ok(Value::Null) };
        let action = known.active.and_then(|action| state.actions.get(action));
        let mut entity = b"{".to_vec();
        known.write(&mut entity, &state.raw_properties);
        entity.push(b'}');
        Ok(json!({
            "id": known.id,
            "name": known.name,
            "online": known.online,
            "start_delay": shown_seconds(known.start_delay),
            "remediation_level": known.remediation_level,
            "supported": known.supported,
            "stuck": known.stuck,
            "session": action.map(|action| action.id.to_string()),
            "entity": serde_json::from_slice::<Value>(&entity).unwrap_or_default(),
        }))
    }
}
