//! Values that a test puts in place of a property of an entity, whatever their type.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use crate::emulator::write_json;

/// A kind of entity. Its name stands for every entity of the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityKind {
    Action,
    Machine,
    LibraryFile,
}

impl EntityKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Action => "machineactions",
            Self::Machine => "machines",
            Self::LibraryFile => "libraryfiles",
        }
    }

    /// Returns the kind with this name, which is that of its list in the API.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "machineactions" => Some(Self::Action),
            "machines" => Some(Self::Machine),
            "libraryfiles" => Some(Self::LibraryFile),
            _ => None,
        }
    }
}

/// The properties of one entity. `None` stands for a property that is left out.
type Overrides = BTreeMap<String, Option<Value>>;

/// The properties that a test has set.
#[derive(Debug, Default)]
pub struct RawProperties {
    of_all: HashMap<EntityKind, Overrides>,
    /// By the id or the name of the file, in lower case.
    of_one: HashMap<(EntityKind, String), Overrides>,
}

impl RawProperties {
    /// Sets a property of the entity with this key, or of all. `None` leaves it out.
    pub fn set(&mut self, kind: EntityKind, key: Option<&str>, name: &str, value: Option<Value>) {
        let overrides = match key {
            Some(key) => self.of_one.entry((kind, key.to_ascii_lowercase())).or_default(),
            None => self.of_all.entry(kind).or_default(),
        };
        overrides.insert(name.to_owned(), value);
    }

    /// Forgets what was set for single actions.
    pub fn forget_actions(&mut self) {
        self.of_one.retain(|(kind, _), _| *kind != EntityKind::Action);
    }

    /// Returns each property: the name of the kind or the key of one entity, the property's name,
    /// and its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Option<&Value>)> {
        let of_all = self.of_all.iter().map(|(kind, overrides)| (kind.name(), overrides));
        let of_one = self.of_one.iter().map(|((_, key), overrides)| (key.as_str(), overrides));
        of_all.chain(of_one).flat_map(|(entity, overrides)| {
            overrides.iter().map(move |(name, value)| (entity, name.as_str(), value.as_ref()))
        })
    }

    /// Changes the entity whose properties, without braces, begin at `start` of `out`.
    pub fn apply(&self, kind: EntityKind, key: &str, out: &mut Vec<u8>, start: usize) {
        // Most emulators have none, and lists are long.
        if self.of_all.is_empty() && self.of_one.is_empty() {
            return;
        }
        let of_one = self.of_one.get(&(kind, key.to_ascii_lowercase()));
        let changes: Vec<_> = self.of_all.get(&kind).into_iter().chain(of_one).flatten().collect();
        if changes.is_empty() {
            return;
        }
        let written = out.split_off(start);
        let mut entity = [b"{", written.as_slice(), b"}"].concat();
        if let Ok(Value::Object(mut properties)) = serde_json::from_slice(&entity) {
            for (name, value) in changes {
                match value {
                    Some(value) => properties.insert(name.clone(), value.clone()),
                    None => properties.remove(name),
                };
            }
            entity.clear();
            write_json(&mut entity, &properties);
        }
        out.extend(entity.get(1..entity.len().saturating_sub(1)).unwrap_or_default());
    }
}
