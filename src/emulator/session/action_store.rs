//! The list of all actions, with indexes by id and by machine.

use foldhash::HashMap;
use uuid::Uuid;

use crate::emulator::odata::IndexHints;
use crate::emulator::session::action::Action;

/// All actions in order of creation. An action's position never changes, so other parts refer to it
/// by that.
#[derive(Debug, Default)]
pub struct Actions {
    all: Vec<Action>,
    /// The position of the first one.
    first: u32,
    by_id: HashMap<Uuid, u32>,
    by_machine: HashMap<u32, Vec<u32>>,
}

impl Actions {
    /// Adds an action and returns its position.
    pub fn add(&mut self, action: Action) -> u32 {
        let index = self.first.saturating_add(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.by_id.insert(action.id, index);
        self.by_machine.entry(action.machine).or_default().push(index);
        self.all.push(action);
        index
    }

    pub fn get(&self, index: u32) -> Option<&Action> {
        self.all.get(index.checked_sub(self.first)? as usize)
    }

    /// Returns all actions with their positions, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &Action)> {
        let first = self.first;
        self.all.iter().enumerate().map(move |(at, action)| (first + at as u32, action))
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Action> {
        self.all.get_mut(index.checked_sub(self.first)? as usize)
    }

    /// Forgets every action.
    pub fn clear(&mut self) {
        // The positions continue: a script that still runs must not end another action's command.
        let first = self.first.saturating_add(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        *self = Self { first, ..Self::default() };
    }

    /// Returns the position of the action with that id.
    pub fn by_id(&self, id: Uuid) -> Option<u32> {
        self.by_id.get(&id).copied()
    }

    /// Returns the actions that a filter on `id` or `machineId` can match, oldest first; otherwise
    /// all.
    pub fn candidates(
        &self,
        hints: &IndexHints<'_>,
        machine: impl Fn(&str) -> Option<u32>,
    ) -> Vec<&Action> {
        // Clients poll with filters by id, and such a poll must not scan every action of a long
        // run.
        if let Some(ids) = hints.equal_to("id") {
            let parsed = ids.iter().filter_map(|id| Uuid::parse_str(id).ok());
            let mut found: Vec<u32> = parsed.filter_map(|id| self.by_id(id)).collect();
            found.sort_unstable();
            found.dedup();
            return found.into_iter().filter_map(|index| self.get(index)).collect();
        }
        if let Some(ids) = hints.equal_to("machineId") {
            let lists = ids.iter().filter_map(|id| self.by_machine.get(&machine(id)?));
            let mut found: Vec<u32> = lists.flatten().copied().collect();
            found.sort_unstable();
            found.dedup();
            return found.into_iter().filter_map(|index| self.get(index)).collect();
        }
        self.all.iter().collect()
    }
}
