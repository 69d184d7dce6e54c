//! The machines of the tenant (facts.md, section 9).

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use crate::emulator::clock::{MAX_SECONDS, Tick, ticks};
use crate::emulator::inventory::machine_properties::check_properties;
use crate::emulator::odata::IndexHints;
use crate::error::{Error, Result};
use crate::model::is_machine_id;

/// A machine to add.
#[derive(Clone, Debug)]
pub struct NewMachine {
    pub name: String,
    /// 40 hexadecimal digits. The default is drawn from the seed.
    pub id: Option<String>,
    pub online: bool,
    /// Seconds from accepted to InProgress. The default is 0.5.
    pub start_delay: f64,
    /// Its device group has a remediation level. The default is true.
    pub remediation_level: bool,
    /// Its system can run live response. The default is true.
    pub supported: bool,
    /// The service's own properties, over the defaults.
    pub properties: Map<String, Value>,
}

impl NewMachine {
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

    #[must_use]
    pub fn offline(mut self) -> Self {
        self.online = false;
        self
    }

    pub fn check(&self) -> Result<()> {
        if self.name.is_empty() {
            return Err(Error::invalid("a machine needs a name"));
        }
        if !(0.0..=MAX_SECONDS).contains(&self.start_delay) {
            let delay = self.start_delay;
            return Err(Error::invalid(format!(
                "start_delay is {delay}; it has to be between 0 and {MAX_SECONDS} seconds"
            )));
        }
        if let Some(id) = self.id.as_ref().filter(|id| !is_machine_id(id)) {
            return Err(Error::invalid(format!(
                "machine property id is {id:?}; it has to be 40 hexadecimal digits"
            )));
        }
        check_properties(&self.properties)
    }
}

#[derive(Debug)]
pub struct Machine {
    pub id: String,
    pub name: String,
    pub online: bool,
    pub start_delay: Tick,
    pub remediation_level: bool,
    pub supported: bool,
    /// Every submit is a bare 500.
    pub stuck: bool,
    /// The open action.
    pub active: Option<u32>,
    /// Busy a while longer than its action was.
    pub busy_until: Tick,
    pub seen: Tick,
    pub properties: Map<String, Value>,
}

impl Machine {
    /// When it was last seen.
    pub fn last_seen(&self) -> Tick {
        let own = self
            .properties
            .get("lastSeen")
            .and_then(Value::as_str)
            .and_then(crate::model::Timestamp::parse);
        own.map_or(self.seen, |time| ticks(time.to_unix()))
    }
}

/// All machines, found by id and by name.
#[derive(Debug, Default)]
pub struct Machines {
    all: Vec<Machine>,
    by_id: HashMap<String, u32>,
    by_name: BTreeMap<String, Vec<u32>>,
}

impl Machines {
    pub fn add(&mut self, new: NewMachine, id: String, now: Tick) -> u32 {
        let index = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let id = new.id.unwrap_or(id).to_ascii_lowercase();
        let name = new.name.to_ascii_lowercase();
        let short = name.split('.').next().unwrap_or(&name).to_owned();
        if short != name {
            self.by_name.entry(short).or_default().push(index);
        }
        self.by_name.entry(name).or_default().push(index);
        self.by_id.insert(id.clone(), index);
        self.all.push(Machine {
            id,
            name: new.name,
            online: new.online,
            start_delay: ticks(new.start_delay.max(0.0)),
            remediation_level: new.remediation_level,
            supported: new.supported,
            stuck: false,
            active: None,
            busy_until: Tick::MIN,
            seen: now,
            properties: new.properties,
        });
        index
    }

    pub fn get(&self, index: u32) -> Option<&Machine> {
        self.all.get(index as usize)
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Machine> {
        self.all.get_mut(index as usize)
    }

    pub fn by_id(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).or_else(|| self.by_id.get(&id.to_ascii_lowercase())).copied()
    }

    /// By id or by name, case not minded; of several the one that was seen last (facts 15, row 28).
    pub fn find(&self, key: &str) -> Option<u32> {
        self.by_id(key).or_else(|| {
            let named = self.by_name.get(&key.to_ascii_lowercase())?;
            named.iter().copied().max_by_key(|index| self.get(*index).map(Machine::last_seen))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = &Machine> {
        self.all.iter()
    }

    /// Those that a filter can match, as far as its `id` and `computerDnsName` tell.
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
