//! What a test puts into the emulator, and does to it.

use uuid::Uuid;

use crate::emulator::control::fault::Fault;
use crate::emulator::control::switches::Switches;
use crate::emulator::inventory::library::sha256;
use crate::emulator::inventory::machine::NewMachine;
use crate::emulator::session::action::Content;
use crate::emulator::session::script::Behaviour;
use crate::emulator::{Emulator, ForeignSessionResponse, clock};
use crate::error::{Error, Result};
use crate::model::Machine;

impl Emulator {
    /// Adds a machine and describes it as the API would.
    pub fn add_machine(&self, machine: NewMachine) -> Result<Machine> {
        machine.check()?;
        let (mut state, now) = self.lock_now();
        if let Some(id) = machine.id.as_ref().filter(|id| state.machines.by_id(id).is_some()) {
            return Err(Error::invalid(format!("there is a machine of the id {id} already")));
        }
        let machine_index = state.add_machine(machine, now);
        let mut out = b"{".to_vec();
        if let Some(machine) = state.machines.get(machine_index) {
            machine.write(&mut out);
        }
        out.push(b'}');
        crate::model::decode_entity(&out)
    }

    /// The ids of all machines, in the order in which they were added.
    pub fn machine_ids(&self) -> Vec<String> {
        self.lock_state().machines.iter().map(|machine| machine.id.clone()).collect()
    }

    /// Brings a machine, by id or name, on line or takes it off.
    pub fn set_online(&self, machine: &str, online: bool) -> Result<()> {
        let (mut state, now) = self.lock_advanced();
        let machine_index = state.resolve_machine(machine)?;
        state.set_online(machine_index, online, now);
        Ok(())
    }

    /// Makes every submit to a machine a bare 500, or ends that.
    pub fn set_stuck(&self, machine: &str, stuck: bool) -> Result<()> {
        let mut state = self.lock_state();
        let machine_index = state.resolve_machine(machine)?;
        if let Some(machine) = state.machines.get_mut(machine_index) {
            machine.stuck = stuck;
        }
        Ok(())
    }

    /// Another's session on a machine for so many seconds: listed, or from the portal and in no list.
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
            return Err(Error::invalid(format!("machine {machine} has a session already")));
        }
        let foreign = answer == ForeignSessionResponse::Foreign;
        Ok(state.add_foreign_session(machine_index, clock::ticks(seconds), listed, foreign, now))
    }

    pub fn add_library_file(&self, name: &str, content: &[u8]) {
        let sha256 = sha256(content);
        let (mut state, now) = self.lock_now();
        state.library.put(name, sha256, now);
    }

    /// Says what a script does; it is put into the library if it is not there.
    pub fn on_script(&self, name: &str, behaviour: impl Into<Behaviour>) {
        let (mut state, now) = self.lock_now();
        if !state.library.contains(name) {
            let content = format!("# {name}\n");
            state.library.put(name, sha256(content.as_bytes()), now);
        }
        state.scripts.insert(name.to_ascii_lowercase(), behaviour.into());
    }

    /// Forgets what scripts do, and lets go of what their calls hold.
    pub fn forget_scripts(&self) {
        let forgotten = std::mem::take(&mut self.lock_state().scripts);
        // Dropped here, without the lock.
        drop(forgotten);
    }

    /// Puts a file on a machine's disk, or with `*` on that of every machine, for GetFile to collect.
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

    /// Lays a fault for the `nth` call from now on, and the `times - 1` after it, that `method` and `path` match. A path is
    /// a route's name, as [`Route::name`] has it, or a path in which `*` or `{id}` stands for a segment.
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

    /// Its clock jumps.
    pub fn advance(&self, seconds: f64) {
        self.lock_state().clock_offset += clock::ticks(seconds.max(0.0));
        drop(self.lock_advanced());
    }

    /// Changes switches while it runs.
    pub fn set_switches(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.lock_state().switches);
    }
}
