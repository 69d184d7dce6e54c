//! A config: one file, in YAML or JSON, for all that can be set of an emulator.

mod node;
mod read;
mod scalar;
mod sections;
mod yaml;

use crate::config::Limits;
use crate::emulator::Emulator;
use crate::emulator::control::entries::Entry;
use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// What a config says. It is checked; an [`Emulator`] may still lack a machine that it names.
#[derive(Clone, Debug, Default)]
pub struct EmulatorConfig {
    /// The number of machines `ws-0001.example.test` and so on.
    pub machines: Option<usize>,
    pub speed: Option<f64>,
    pub seed: Option<u64>,
    pub limits: Option<Limits>,
    /// The given switches.
    pub switches: Map<String, Value>,
    entries: Vec<PlacedEntry>,
}

/// An entry and where it is: the file, the line, the section and the number in it.
#[derive(Clone, Debug)]
struct PlacedEntry {
    place: String,
    entry: Entry,
}

impl EmulatorConfig {
    /// Returns the number of machines that it lists.
    pub fn listed_machines(&self) -> usize {
        self.entries.iter().filter(|placed| matches!(placed.entry, Entry::Machine(_))).count()
    }
}

impl Emulator {
    /// Adds what a config lists, in the order of the sections.
    ///
    /// # Errors
    ///
    /// Returns an error that names the place in the config, such as that of an unknown machine.
    pub fn apply(&self, config: &EmulatorConfig) -> Result<()> {
        for placed in &config.entries {
            self.add_entry(placed.entry.clone()).map_err(|error| at(&placed.place, &error))?;
        }
        Ok(())
    }
}

/// Returns an error of a config, which names the place. A wrong config is always a wrong argument.
fn at(place: &str, error: &Error) -> Error {
    let placed = Error::invalid(format!("{place}: {}", error.message));
    match &error.hint {
        Some(hint) => placed.with_hint(hint.clone()),
        None => placed,
    }
}
