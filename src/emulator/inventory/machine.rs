//! The machines of the tenant (docs/service.md, section 9).

use std::collections::BTreeMap;

use foldhash::HashMap;
use serde_json::{Map, Value};

use crate::emulator::clock::{MAX_SECONDS, SECOND, Tick, ticks};
use crate::emulator::inventory::machine_properties::check_properties;
use crate::emulator::odata::IndexHints;
use crate::error::{Error, Result};
use crate::model::is_machine_id;

/// Between two reports of a machine to the service.
const DAY: Tick = 86_400 * SECOND;
/// How long before it is added a machine was first seen, if the test adds it at the start.
const FIRST_SEEN_BEFORE: Tick = 30 * DAY;
/// A machine that is added later than this after the first one is new to the service.
const SETUP_TIME: Tick = DAY / 24;

/// A machine to add.
#[derive(Clone, Debug)]
pub struct NewMachine {
    pub name: String,
    /// 40 hexadecimal digits. The default is generated from the seed.
    pub id: Option<String>,
    pub online: bool,
    /// Seconds from an accepted submit to `InProgress`. The default is 0.5.
    pub start_delay: f64,
    /// Whether its device group has a remediation level. The default is true.
    pub remediation_level: bool,
    /// Whether its operating system supports live response. The default is true.
    pub supported: bool,
    /// Properties of the service's machine entity. They replace the defaults.
    pub properties: Map<String, Value>,
}

impl NewMachine {
    /// Returns an online machine with default properties.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
            online: true,
            start_delay: 0.5,
            remediation_level: true,
            supported: true,
            properties: Map::new(),
        }
    }

    /// Makes the machine offline.
    #[must_use]
    pub fn offline(mut self) -> Self {
        self.online = false;
        self
    }

    /// Checks the name, the delay, the id and the properties.
    pub fn check(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::invalid("a machine needs a name"));
        }
        if !(0.0..=MAX_SECONDS).contains(&self.start_delay) {
            let delay = self.start_delay;
            return Err(Error::invalid(format!(
                "start_delay is {delay}; it must be between 0 and {MAX_SECONDS} seconds"
            )));
        }
        if let Some(id) = self.id.as_ref().filter(|id| !is_machine_id(id)) {
            return Err(Error::invalid(format!(
                "machine property id is {id:?}; it must be 40 hexadecimal digits"
            )));
        }
        check_properties(&self.properties)
    }
}

/// A machine and its state.
#[derive(Debug)]
pub struct Machine {
    pub id: String,
    pub name: String,
    pub online: bool,
    pub start_delay: Tick,
    pub remediation_level: bool,
    pub supported: bool,
    /// Whether every submit gets a 500 without a body.
    pub stuck: bool,
    /// Whether a test said so. A reset goes back to this.
    pub stuck_by_test: bool,
    /// The position of the open action.
    pub active: Option<u32>,
    /// Until when the machine answers as busy although its action has ended.
    pub busy_until: Tick,
    /// When it was added.
    added: Tick,
    /// When the service saw it for the first time.
    pub first_seen: Tick,
    /// When it last reported to the service.
    pub seen: Tick,
    pub properties: Map<String, Value>,
}

impl Machine {
    pub fn new(new: NewMachine, id: String, now: Tick) -> Self {
        Self {
            id,
            name: new.name,
            online: new.online,
            start_delay: ticks(new.start_delay.max(0.0)),
            remediation_level: new.remediation_level,
            supported: new.supported,
            stuck: false,
            stuck_by_test: false,
            active: None,
            busy_until: Tick::MIN,
            added: now,
            first_seen: now - FIRST_SEEN_BEFORE,
            seen: now,
            properties: new.properties,
        }
    }

    /// Returns whether the record was merged into that of another machine.
    pub fn is_merged(&self) -> bool {
        self.properties.get("mergedIntoMachineId").is_some_and(|into| !into.is_null())
    }

    /// Reports to the service if the machine is online and its last report is a day old
    /// (docs/service.md, section 9).
    pub fn report_daily(&mut self, now: Tick) {
        let days = (now - self.seen) / DAY;
        if self.online && days > 0 {
            self.seen += days * DAY;
        }
    }

    /// Returns when the machine was last seen.
    pub fn last_seen(&self) -> Tick {
        let configured = self
            .properties
            .get("lastSeen")
            .and_then(Value::as_str)
            .and_then(crate::model::Timestamp::parse);
        configured.map_or(self.seen, |time| ticks(time.to_unix()))
    }
}

/// All machines, with indexes by id and by name. A machine's position never changes.
#[derive(Debug, Default)]
pub struct Machines {
    all: Vec<Machine>,
    by_id: HashMap<String, u32>,
    by_name: BTreeMap<String, Vec<u32>>,
}

impl Machines {
    /// Adds a machine and returns its position. `id` is used if the new machine has none.
    pub fn add(&mut self, new: NewMachine, id: String, now: Tick) -> u32 {
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let id = new.id.clone().unwrap_or(id).to_ascii_lowercase();
        let name = new.name.to_ascii_lowercase();
        // The service finds a machine by its full name or by the first label.
        let short = name.split('.').next().unwrap_or(&name).to_owned();
        if short != name {
            self.by_name.entry(short).or_default().push(index);
        }
        self.by_name.entry(name).or_default().push(index);
        self.by_id.insert(id.clone(), index);
        let mut machine = Machine::new(new, id, now);
        let started = self.all.first().map_or(now, |first| first.added);
        if now - started > SETUP_TIME {
            machine.first_seen = now;
        }
        self.all.push(machine);
        index
    }

    pub fn get(&self, index: u32) -> Option<&Machine> {
        self.all.get(index as usize)
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Machine> {
        self.all.get_mut(index as usize)
    }

    /// Returns the position of the machine with that id, in any case.
    pub fn by_id(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).or_else(|| self.by_id.get(&id.to_ascii_lowercase())).copied()
    }

    /// Finds a machine by id or name, in any case. Of several machines with the name, it returns
    /// the one that was seen last (docs/service.md, section 15, row 28).
    pub fn find(&self, key: &str) -> Option<u32> {
        self.by_id(key).or_else(|| {
            let candidates = self.by_name.get(&key.to_ascii_lowercase())?;
            candidates.iter().copied().max_by_key(|index| self.get(*index).map(Machine::last_seen))
        })
    }

    /// Lets each online machine report daily.
    pub fn report_daily(&mut self, now: Tick) {
        self.all.iter_mut().for_each(|machine| machine.report_daily(now));
    }

    /// Frees every machine of what sessions left on it.
    pub fn forget_sessions(&mut self) {
        for machine in &mut self.all {
            machine.active = None;
            machine.busy_until = Tick::MIN;
            machine.stuck = machine.stuck_by_test;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Machine> {
        self.all.iter()
    }

    /// Returns the machines that a filter on `id` or `computerDnsName` can match; otherwise all.
    pub fn candidates(&self, hints: &IndexHints<'_>) -> Vec<&Machine> {
        if let Some(ids) = hints.equal_to("id") {
            let mut found: Vec<u32> = ids.iter().filter_map(|id| self.by_id(id)).collect();
            found.sort_unstable();
            found.dedup();
            return found.into_iter().filter_map(|index| self.get(index)).collect();
        }
        if let Some(prefix) = hints.prefix("computerDnsName") {
            let prefix = prefix.to_ascii_lowercase();
            let range = self
                .by_name
                .range(prefix.clone()..)
                .take_while(|(name, _)| name.starts_with(&prefix));
            let mut found: Vec<u32> = range.flat_map(|(_, index)| index.iter().copied()).collect();
            found.sort_unstable();
            found.dedup();
            return found.into_iter().filter_map(|index| self.get(index)).collect();
        }
        self.all.iter().collect()
    }
}
