//! What is set of an emulator, as the entries that set it.

use serde_json::{Map, Value, json};

use crate::emulator::Emulator;
use crate::emulator::clock::{Tick, seconds};
use crate::emulator::control::entries::Section;
use crate::emulator::control::entries::content;
use crate::emulator::control::entries::faults::{ForeignSessionEntry, PropertyEntry};
use crate::emulator::control::entries::files::{LibraryEntry, RemoteFileEntry};
use crate::emulator::control::entries::machine::MachineEntry;
use crate::emulator::control::entries::script::ScriptEntry;
use crate::emulator::session::action::{Action, Content};
use crate::emulator::session::script::Behaviour;
use crate::emulator::session::session_counts::FOREIGN_APPLICATION;
use crate::emulator::state::State;

impl Emulator {
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
        let (left, answer) = (seconds(ends - now).max(0.0), action.returned_for_other_submits);
        Some(ForeignSessionEntry::describe(&action.machine_id, left, action.listed, answer))
    }
}

/// Returns entries in an order that does not depend on that of a hash map.
fn in_order(entries: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut entries: Vec<Value> = entries.collect();
    entries.sort_by_cached_key(Value::to_string);
    entries
}
