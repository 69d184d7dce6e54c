//! The present state of an emulator as a config: loaded, it gives the same emulator again.

use serde_json::{Map, Value, json};

use crate::emulator::Emulator;
use crate::emulator::clock::Tick;
use crate::emulator::control::entries::content;
use crate::emulator::control::entries::faults::{ForeignSessionEntry, PropertyEntry};
use crate::emulator::control::entries::files::{LibraryEntry, RemoteFileEntry};
use crate::emulator::control::entries::machine::MachineEntry;
use crate::emulator::control::entries::script::ScriptEntry;
use crate::emulator::control::entries::{Section, shown_seconds};
use crate::emulator::control::switches::Switches;
use crate::emulator::session::action::{Action, Content};
use crate::emulator::session::script::Behaviour;
use crate::emulator::session::session_counts::FOREIGN_APPLICATION;
use crate::emulator::state::State;

impl Emulator {
    /// Returns the state as a config. What a config cannot express is named in its `notes`.
    pub fn config(&self) -> Value {
        let (state, now) = self.lock_advanced();
        let mut config = Map::new();
        let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
        set("notes", json!(state.notes()));
        set("seed", json!(self.inner.seed));
        set("speed", json!(state.speed));
        set("limits", json!(state.limits));
        set("switches", changed_switches(&state.switches));
        for section in Section::ALL {
            let mut entries = state.describe_section(section, now);
            if section == Section::Properties {
                // Its sessions are not part of a config.
                entries.retain(|entry| state.action_of(entry).is_none());
            }
            // The list of machines replaces the default ones, even if it is empty.
            if section == Section::Machines || !entries.is_empty() {
                set(section.name(), Value::Array(entries));
            }
        }
        Value::Object(config)
    }

    /// Returns the entries of a section.
    pub fn describe_section(&self, section: Section) -> Vec<Value> {
        let (state, now) = self.lock_advanced();
        state.describe_section(section, now)
    }

    /// Returns every switch with its value.
    pub fn switches_json(&self) -> Value {
        json!(self.lock_state().switches)
    }
}

/// Returns the switches that do not have their default.
fn changed_switches(switches: &Switches) -> Value {
    let (mut all, defaults) = (json!(switches), json!(Switches::default()));
    if let Value::Object(all) = &mut all {
        all.retain(|name, value| defaults.get(name) != Some(value));
    }
    all
}

impl State {
    fn describe_section(&self, section: Section, now: Tick) -> Vec<Value> {
        match section {
            Section::Machines => self.machines.iter().map(MachineEntry::describe).collect(),
            Section::Library => self.library.files().map(LibraryEntry::describe).collect(),
            Section::Scripts => {
                let fixed = |(name, script): (&String, &Behaviour)| match script {
                    Behaviour::Fixed(outcome) => Some(ScriptEntry::describe(name, outcome)),
                    Behaviour::Callback(_) => None,
                };
                in_order(self.scripts.iter().filter_map(fixed))
            }
            Section::Files => in_order(
                self.files
                    .iter()
                    .map(|(machine, path, file)| RemoteFileEntry::describe(machine, path, file)),
            ),
            Section::Faults => self.faults.describe(),
            Section::ForeignSessions => {
                let open = self.actions.iter().filter(|(_, action)| action.status.is_open());
                open.filter_map(|(index, action)| self.describe_foreign(index, action, now))
                    .collect()
            }
            Section::Properties => in_order(
                self.raw_properties
                    .iter()
                    .map(|(entity, name, value)| PropertyEntry::describe(entity, name, value)),
            ),
            Section::Certificates => {
                let of_first = self.applications.first();
                let certificates = of_first.into_iter().flat_map(|first| &first.certificates);
                let entry = |certificate: &Vec<u8>| {
                    let mut entry = Map::new();
                    content::put(&mut entry, &Content::Bytes(certificate.clone().into()));
                    Value::Object(entry)
                };
                certificates.map(entry).collect()
            }
        }
    }

    fn describe_foreign(&self, index: u32, action: &Action, now: Tick) -> Option<Value> {
        let foreign = action.application == Some(FOREIGN_APPLICATION) || !action.listed;
        let ends = self.events.end_of_foreign(index).filter(|_| foreign)?;
        let (left, answer) =
            (shown_seconds((ends - now).max(0)), action.returned_for_other_submits);
        Some(ForeignSessionEntry::describe(&action.machine_id, left, action.listed, answer))
    }

    /// Returns the position of the action that an entry of a property names.
    fn action_of(&self, entry: &Value) -> Option<u32> {
        let entity = entry.get("entity").and_then(Value::as_str)?;
        self.actions.by_id(uuid::Uuid::parse_str(entity).ok()?)
    }

    /// Says what the config does not have.
    fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "Left out: sessions of clients, requests, tokens, and the time that the clock was \
             moved."
                .to_owned(),
        ];
        let left_out = |(name, script): (&String, &Behaviour)| match script {
            Behaviour::Callback(_) => Some(name.clone()),
            Behaviour::Fixed(outcome) => outcome.raw.is_some().then(|| name.clone()),
        };
        let mut names: Vec<String> = self.scripts.iter().filter_map(left_out).collect();
        if !names.is_empty() {
            names.sort();
            notes.push(format!("Left out: what these scripts do in code: {}.", names.join(", ")));
        }
        if self.applications.len() > 1 {
            notes.push("Left out: all applications but the first.".to_owned());
        }
        notes
    }
}

/// Returns entries in an order that does not depend on that of a hash map.
fn in_order(entries: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut entries: Vec<Value> = entries.collect();
    entries.sort_by_cached_key(Value::to_string);
    entries
}
