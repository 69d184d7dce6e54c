//! The methods with which a test configures the emulator.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::emulator::control::fault::Fault;
use crate::emulator::control::raw_properties::{EntityKind, RawProperties};
use crate::emulator::control::switches::Switches;
use crate::emulator::inventory::library::sha256;
use crate::emulator::inventory::machine::NewMachine;
use crate::emulator::session::action::Content;
use crate::emulator::session::script::Behaviour;
use crate::emulator::{Emulator, ForeignSessionResponse, clock};
use crate::error::{Error, Kind, Result};
use crate::model::Machine;

impl Emulator {
    /// Adds a machine and returns its entity as the API would.
    pub fn add_machine(&self, machine: NewMachine) -> Result<Machine> {
        machine.check()?;
        let (mut state, now) = self.lock_now();
        if let Some(id) = machine.id.as_ref().filter(|id| state.machines.by_id(id).is_some()) {
            return Err(Error::invalid(format!("a machine with id {id} exists already")));
        }
        let machine_index = state.add_machine(machine, now);
        let mut out = b"{".to_vec();
        if let Some(machine) = state.machines.get(machine_index) {
            machine.write(&mut out, &RawProperties::default());
        }
        out.push(b'}');
        crate::model::decode_entity(&out)
    }

    /// Returns the ids of all machines, in the order in which they were added.
    pub fn machine_ids(&self) -> Vec<String> {
        self.lock_state().machines.iter().map(|machine| machine.id.clone()).collect()
    }

    /// Sets a machine, by id or name, online or offline.
    pub fn set_online(&self, machine: &str, online: bool) -> Result<()> {
        let (mut state, now) = self.lock_advanced();
        let machine_index = state.resolve_machine(machine)?;
        state.set_online(machine_index, online, now);
        Ok(())
    }

    /// Makes every submit to a machine a 500 without a body, or stops that.
    pub fn set_stuck(&self, machine: &str, stuck: bool) -> Result<()> {
        let mut state = self.lock_state();
        let machine_index = state.resolve_machine(machine)?;
        if let Some(machine) = state.machines.get_mut(machine_index) {
            (machine.stuck, machine.stuck_by_test) = (stuck, stuck);
        }
        Ok(())
    }

    /// Adds another caller's session on a machine, for `seconds`. If `listed` is false it is a
    /// portal session, which no list shows.
    pub fn add_foreign_session(
        &self,
        machine: &str,
        seconds: f64,
        listed: bool,
        answer: ForeignSessionResponse,
    ) -> Result<Uuid> {
        let (mut state, now) = self.lock_advanced();
        let machine_index = state.resolve_machine(machine)?;
        if state.machines.get(machine_index).is_some_and(|machine| machine.active.is_some()) {
            return Err(Error::invalid(format!("machine {machine} has an open session already")));
        }
        let foreign = answer == ForeignSessionResponse::Foreign;
        Ok(state.add_foreign_session(machine_index, clock::ticks(seconds), listed, foreign, now))
    }

    /// Adds a file to the library, or replaces the file with that name.
    pub fn add_library_file(&self, name: &str, content: &[u8]) {
        let sha256 = sha256(content);
        let (mut state, now) = self.lock_now();
        state.library.put(name, sha256, now);
        if let Some(file) = state.library.get_mut(name) {
            file.length = content.len() as u64;
        }
    }

    /// Sets what a script does, and adds it to the library if it is not there.
    pub fn on_script(&self, name: &str, behaviour: impl Into<Behaviour>) {
        let (mut state, now) = self.lock_now();
        if !state.library.contains(name) {
            let content = format!("# {name}\n");
            state.library.put(name, sha256(content.as_bytes()), now);
        }
        state.scripts.insert(name.to_ascii_lowercase(), behaviour.into());
    }

    /// Removes the behaviour of all scripts, and drops their callbacks.
    pub fn forget_scripts(&self) {
        let scripts = std::mem::take(&mut self.lock_state().scripts);
        // Dropped after the lock is released: a callback may own the emulator, and its drop may
        // call it.
        drop(scripts);
    }

    /// Puts a file on a machine's disk, where GetFile finds it. The machine `*` means all.
    pub fn put_remote_file(&self, machine: &str, path: &str, content: Content) -> Result<()> {
        let mut state = self.lock_state();
        let key = if machine == "*" {
            machine.to_owned()
        } else {
            let machine_index = state.resolve_machine(machine)?;
            state.machines.get(machine_index).map_or_else(String::new, |machine| machine.id.clone())
        };
        state.files.put(&key, path, content);
        Ok(())
    }

    /// Applies a fault to the `nth` matching call from now on, and to the `times - 1` matching
    /// calls after it. `path` is the name of a route, or a path in which `*` or `{id}` matches
    /// one segment.
    pub fn fault(
        &self,
        method: &str,
        path: &str,
        fault: Fault,
        nth: u32,
        times: u32,
    ) -> Result<()> {
        self.lock_state().faults.add_rule(method, path, fault, nth, times)
    }

    /// Makes the API show any value as a property of an action, a machine or a library file.
    ///
    /// `id` is the action's or machine's id, the machine's or file's name, or `machineactions`,
    /// `machines` or `libraryfiles` for all of a kind, those to come included. `None` leaves the
    /// property out. What the emulator does and what filters match stays as it is.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such entity.
    pub fn set_raw_property(&self, id: &str, name: &str, value: Option<Value>) -> Result<()> {
        let mut state = self.lock_state();
        if let Some(kind) = EntityKind::from_name(id) {
            state.raw_properties.set(kind, None, name, value);
            return Ok(());
        }
        let action = Uuid::parse_str(id).ok().filter(|id| state.actions.by_id(*id).is_some());
        let machine = state.machines.find(id).and_then(|index| state.machines.get(index));
        let (kind, key) = if let Some(action) = action {
            (EntityKind::Action, action.to_string())
        } else if let Some(machine) = machine {
            (EntityKind::Machine, machine.id.clone())
        } else if let Some(file) = state.library.get(id) {
            (EntityKind::LibraryFile, file.name.clone())
        } else {
            return Err(Error::new(
                Kind::NotFound,
                format!("the emulator has no action, machine or library file {id:?}"),
            )
            .with_hint("machineactions, machines and libraryfiles stand for all of a kind"));
        };
        state.raw_properties.set(kind, Some(&key), name, value);
        Ok(())
    }

    /// Moves the emulator's clock forward.
    pub fn advance(&self, seconds: f64) {
        self.lock_state().clock_offset += clock::ticks(seconds.max(0.0));
        drop(self.lock_advanced());
    }

    /// Changes the given switches, by name. The others stay as they are.
    ///
    /// # Errors
    ///
    /// Returns an error if a name or a value is not valid. Then nothing changes.
    pub fn change_switches(&self, given: Map<String, Value>) -> Result<()> {
        let mut state = self.lock_state();
        state.switches = state.switches.with(given)?;
        Ok(())
    }

    /// Changes switches while the emulator runs.
    pub fn set_switches(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.lock_state().switches);
    }
}
