//! The keys of a config, and the entries of its lists.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::{Limits, Rate};
use crate::emulator::config_file::node::{Node, NodeKind, Pair};
use crate::emulator::config_file::{EmulatorConfig, PlacedEntry, at};
use crate::emulator::control::entries::{Entry, Section};
use crate::emulator::control::fields::Fields;
use crate::emulator::control::switches::Switches;
use crate::error::{Error, Result};

/// The keys beside the sections.
const SETTINGS: [&str; 5] = ["notes", "seed", "speed", "limits", "switches"];
/// The most machines, as for the argument `machines`.
const MAX_MACHINES: u64 = 1_000_000;
const MAX_SPEED: f64 = 1e6;

/// Names places in a config.
pub struct Place {
    name: String,
}

impl Place {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    fn line(&self, line: usize) -> String {
        if line == 0 { self.name.clone() } else { format!("{}, line {line}", self.name) }
    }

    fn entry(&self, line: usize, section: Section, number: usize) -> String {
        format!("{}, {}[{number}]", self.line(line), section.name())
    }
}

impl EmulatorConfig {
    /// Reads a parsed config. `None` is an empty one.
    pub fn from_node(node: Option<Node>, place: &Place, folder: &Path) -> Result<Self> {
        let mut config = Self::default();
        let pairs = match node {
            None => return Ok(config),
            Some(Node { kind: NodeKind::Map(pairs), .. }) => pairs,
            Some(Node { kind: NodeKind::Scalar(Value::Null), .. }) => return Ok(config),
            Some(other) => {
                let place = place.line(other.line);
                return Err(Error::invalid(format!("{place}: a config is a mapping of keys")));
            }
        };
        let mut lists = Vec::new();
        for pair in pairs {
            match Section::from_name(&pair.key) {
                Some(section) => lists.push((section, pair)),
                None => config.read_setting(pair, place)?,
            }
        }
        // In the order in which they are applied, not in that of the file.
        for section in Section::ALL {
            if let Some(at) = lists.iter().position(|(of, _)| *of == section) {
                let (_, pair) = lists.swap_remove(at);
                config.read_section(section, pair, place, folder)?;
            }
        }
        Ok(config)
    }

    fn read_setting(&mut self, pair: Pair, place: &Place) -> Result<()> {
        let Pair { key, line, value } = pair;
        if key == "switches" {
            return self.read_switches(value, place, line);
        }
        let setting = || -> Result<()> {
            let value = value.into_value();
            let given = Map::from_iter([(key.clone(), value.clone())]);
            let mut fields = Fields::new("config", given, &all_keys())?;
            match key.as_str() {
                "speed" => {
                    let expected = "a number above 0, and at most 1000000";
                    let fits = |speed| speed > 0.0 && speed <= MAX_SPEED;
                    self.speed = fields.number("speed", expected, fits)?;
                }
                "seed" => self.seed = fields.whole("seed", 0, u64::MAX)?,
                "limits" => self.limits = Some(limits(value)?),
                // For people, and what `/__box/config` says of what it leaves out.
                _ => {}
            }
            Ok(())
        };
        setting().map_err(|error| at(&place.line(line), &error))
    }

    fn read_switches(&mut self, node: Node, place: &Place, line: usize) -> Result<()> {
        let pairs = match node.kind {
            NodeKind::Map(pairs) => pairs,
            NodeKind::Scalar(Value::Null) => return Ok(()),
            _ => {
                let place = place.line(line);
                return Err(Error::invalid(format!(
                    "{place}: switches must be a mapping of names to values"
                )));
            }
        };
        // One by one, so that an error has the right line number.
        for Pair { key, line, value } in pairs {
            let value = value.into_value();
            Switches::from_json(&json!({ &key: value }).to_string())
                .map_err(|error| at(&place.line(line), &error))?;
            self.switches.insert(key, value);
        }
        Ok(())
    }

    fn read_section(
        &mut self,
        section: Section,
        pair: Pair,
        place: &Place,
        folder: &Path,
    ) -> Result<()> {
        let items = match pair.value.kind {
            NodeKind::List(items) => items,
            NodeKind::Scalar(Value::Null) => return Ok(()),
            NodeKind::Scalar(Value::Number(number)) if section == Section::Machines => {
                let given = Map::from_iter([("machines".to_owned(), Value::Number(number))]);
                let read = Fields::new("config", given, &["machines"])
                    .and_then(|mut fields| fields.whole("machines", 0, MAX_MACHINES))
                    .map_err(|error| at(&place.line(pair.line), &error))?;
                self.machines = read.and_then(|count| usize::try_from(count).ok());
                return Ok(());
            }
            _ => {
                let (place, name) = (place.line(pair.line), section.name());
                let or_number = if section == Section::Machines { "a number or " } else { "" };
                return Err(Error::invalid(format!("{place}: {name} must be {or_number}a list")));
            }
        };
        if section == Section::Machines {
            // The listed machines are all there are.
            self.machines = Some(0);
        }
        for (number, item) in items.into_iter().enumerate() {
            let place = place.entry(item.line, section, number);
            let entry = entry_of(section, item, folder).map_err(|error| at(&place, &error))?;
            self.entries.push(PlacedEntry { place, entry });
        }
        Ok(())
    }
}

fn entry_of(section: Section, item: Node, folder: &Path) -> Result<Entry> {
    let given = match (item.into_value(), section) {
        (Value::Object(given), _) => given,
        // A machine with defaults is just its name.
        (Value::String(name), Section::Machines) => {
            Map::from_iter([("name".to_owned(), Value::String(name))])
        }
        (other, Section::Machines) => {
            return Err(Error::invalid(format!("{other} must be a name or a mapping")));
        }
        (other, _) => return Err(Error::invalid(format!("{other} must be a mapping"))),
    };
    Entry::parse(section, given, Some(folder))
}

fn all_keys() -> Vec<&'static str> {
    SETTINGS.into_iter().chain(Section::ALL.map(Section::name)).collect()
}

/// Reads `limits`: the arguments of `Limits`.
fn limits(value: Value) -> Result<Limits> {
    let Value::Object(given) = value else {
        return Err(Error::invalid("limits must be a mapping of names to values"));
    };
    let times = ["queue_time", "script_time", "settle_time"];
    let counts = ["submit", "read", "sessions", "upload_size"];
    let known: Vec<&str> = counts.into_iter().chain(times).collect();
    let mut fields = Fields::new("limits", given, &known)?;
    let mut limits = Limits::default();
    for (name, rates) in [("submit", &mut limits.submit), ("read", &mut limits.read)] {
        if let Some(value) = fields.take(name) {
            *rates = match serde_json::from_value::<Vec<Rate>>(value.clone()) {
                Ok(rates) => rates,
                Err(_) => {
                    let expected = "a list such as [{count: 10, per: 60}]";
                    return Err(fields.wrong(name, &value, expected));
                }
            };
        }
    }
    if let Some(sessions) = fields.whole("sessions", 1, u64::from(u32::MAX))? {
        limits.sessions = u32::try_from(sessions).unwrap_or(u32::MAX);
    }
    if let Some(size) = fields.whole("upload_size", 1, u64::MAX)? {
        limits.upload_size = size;
    }
    let Limits { queue_time, script_time, settle_time, .. } = &mut limits;
    for (name, time) in times.into_iter().zip([queue_time, script_time, settle_time]) {
        if let Some(seconds) = fields.seconds(name)? {
            *time = seconds;
        }
    }
    limits.validated()
}
