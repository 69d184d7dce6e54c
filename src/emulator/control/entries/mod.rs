//! What can be set, as JSON objects: a machine, a script, a file, a fault and so on.
//!
//! The keys are the parameters of the Python methods. The control over HTTP and a config read them
//! here, so both accept the same and say the same about a mistake.

pub mod content;
pub mod faults;
pub mod files;
pub mod machine;
pub mod script;

use std::path::Path;

use serde_json::{Map, Value, json};

use self::faults::{FaultEntry, ForeignSessionEntry, PropertyEntry};
use self::files::{LibraryEntry, RemoteFileEntry};
use self::machine::MachineEntry;
use self::script::ScriptEntry;
use crate::emulator::Emulator;
use crate::emulator::clock::{SECOND, Tick};
use crate::error::{Error, Result};

const MICROSECOND: Tick = SECOND / 1_000_000;

/// A list of a config, and a path of the control over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Machines,
    Library,
    Scripts,
    Files,
    Faults,
    ForeignSessions,
    Properties,
    Certificates,
}

impl Section {
    /// All sections, in the order in which a config is applied: a script keeps the content that its
    /// library file has, and the others name machines.
    pub const ALL: [Self; 8] = [
        Self::Machines,
        Self::Library,
        Self::Scripts,
        Self::Files,
        Self::Faults,
        Self::ForeignSessions,
        Self::Properties,
        Self::Certificates,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Machines => "machines",
            Self::Library => "library",
            Self::Scripts => "scripts",
            Self::Files => "files",
            Self::Faults => "faults",
            Self::ForeignSessions => "foreign_sessions",
            Self::Properties => "properties",
            Self::Certificates => "certificates",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|section| section.name() == name)
    }
}

/// Something to set.
#[derive(Clone, Debug)]
pub enum Entry {
    Machine(MachineEntry),
    Library(LibraryEntry),
    Script(ScriptEntry),
    File(RemoteFileEntry),
    Fault(FaultEntry),
    ForeignSession(ForeignSessionEntry),
    Property(PropertyEntry),
    Certificate(Vec<u8>),
}

impl Entry {
    /// Reads an entry of a section. `folder` is where the key `file` begins; without it, there is
    /// no such key.
    ///
    /// # Errors
    ///
    /// Returns an error that names the key and what is valid.
    pub fn parse(
        section: Section,
        given: Map<String, Value>,
        folder: Option<&Path>,
    ) -> Result<Self> {
        Ok(match section {
            Section::Machines => Self::Machine(MachineEntry::parse(given)?),
            Section::Library => Self::Library(LibraryEntry::parse(given, folder)?),
            Section::Scripts => Self::Script(ScriptEntry::parse(given)?),
            Section::Files => Self::File(RemoteFileEntry::parse(given, folder)?),
            Section::Faults => Self::Fault(FaultEntry::parse(given)?),
            Section::ForeignSessions => Self::ForeignSession(ForeignSessionEntry::parse(given)?),
            Section::Properties => Self::Property(PropertyEntry::parse(given)?),
            Section::Certificates => Self::Certificate(content::certificate(given, folder)?),
        })
    }
}

impl Emulator {
    /// Reads an entry of a section from JSON, and sets what it describes.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such section, or as for [`add_entry`](Self::add_entry).
    pub fn add_json_entry(&self, section: &str, entry: &str) -> Result<Value> {
        let Some(section) = Section::from_name(section) else {
            return Err(Error::invalid(format!("a config has no section {section:?}")));
        };
        match serde_json::from_str(entry) {
            Ok(Value::Object(entry)) => self.add_entry(Entry::parse(section, entry, None)?),
            _ => Err(Error::invalid("an entry must be a JSON object")),
        }
    }

    /// Sets what an entry describes. Returns what a caller may want to know of it.
    ///
    /// # Errors
    ///
    /// Returns an error if it does not fit what is there, such as an unknown machine.
    pub fn add_entry(&self, entry: Entry) -> Result<Value> {
        match entry {
            Entry::Machine(machine) => return self.add_machine_entry(machine),
            Entry::Library(file) => self.add_library_entry(file),
            Entry::Script(script) => self.on_script(&script.name, script.outcome),
            Entry::File(file) => self.put_remote_file(&file.machine, &file.path, file.content)?,
            Entry::Fault(fault) => {
                self.fault(&fault.method, &fault.path, fault.fault, fault.nth, fault.times)?;
            }
            Entry::ForeignSession(session) => {
                let id = self.add_foreign_session(
                    &session.machine,
                    session.seconds,
                    session.listed,
                    session.answer,
                )?;
                return Ok(json!({ "id": id.to_string() }));
            }
            Entry::Property(property) => {
                self.set_raw_property(&property.entity, &property.name, property.value)?;
            }
            Entry::Certificate(certificate) => self.add_certificate(&certificate)?,
        }
        Ok(json!({}))
    }
}

/// Returns a duration in seconds, to the microsecond: what is shown is read as what is shown again.
pub fn shown_seconds(duration: Tick) -> f64 {
    ((duration + MICROSECOND / 2) / MICROSECOND) as f64 / 1e6
}
