//! What a test puts into the emulator, and does to it.

use uuid::Uuid;

use super::action::Content;
use super::faults::Fault;
use super::library::sha256;
use super::machine::NewMachine;
use super::script::Behaviour;
use super::switches::Switches;
use super::{Emulator, ForeignAnswer, clock};
use crate::error::{Error, Result};
use crate::model::Machine;

impl Emulator {
    /// Adds a machine and describes it as the API would.
    pub fn add_machine(&self, machine: NewMachine) -> Result<Machine> {
        machine.check()?;
        let (mut state, now) = self.at_now();
        if let Some(id) = machine.id.as_ref().filter(|id| state.machines.by_id(id).is_some()) {
            return Err(Error::invalid(format!("there is a machine of the id {id} already")));
        }
        let at = state.add_machine(machine, now);
        let mut out = b"{".to_vec();
        if let Some(machine) = state.machines.get(at) {
            machine.write(&mut out);
        }
        out.push(b'}');
        crate::model::entity(&out)
    }

    /// The ids of all machines, in the order in which they were added.
    pub fn machine_ids(&self) -> Vec<String> {
        self.state().machines.iter().map(|machine| machine.id.clone()).collect()
    }

    /// Brings a machine, by id or name, on line or takes it off.
    pub fn set_online(&self, machine: &str, online: bool) -> Result<()> {
        let (mut state, now) = self.settled();
        let at = state.known_machine(machine)?;
        state.set_online(at, online, now);
        Ok(())
    }

    /// Makes every submit to a machine a bare 500, or ends that.
    pub fn set_stuck(&self, machine: &str, stuck: bool) -> Result<()> {
        let mut state = self.state();
        let at = state.known_machine(machine)?;
        if let Some(machine) = state.machines.get_mut(at) {
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
        answer: ForeignAnswer,
    ) -> Result<Uuid> {
        let (mut state, now) = self.settled();
        let at = state.known_machine(machine)?;
        if state.machines.get(at).is_some_and(|machine| machine.active.is_some()) {
            return Err(Error::invalid(format!("machine {machine} has a session already")));
        }
        let foreign = answer == ForeignAnswer::Foreign;
        Ok(state.add_foreign_session(at, clock::ticks(seconds), listed, foreign, now))
    }

    pub fn add_library_file(&self, name: &str, content: &[u8]) {
        let sha256 = sha256(content);
        let (mut state, now) = self.at_now();
        state.library.put(name, sha256, now);
    }

    /// Says what a script does; it is put into the library if it is not there.
    pub fn on_script(&self, name: &str, behaviour: impl Into<Behaviour>) {
        let (mut state, now) = self.at_now();
        if !state.library.holds(name) {
            let content = format!("# {name}\n");
            state.library.put(name, sha256(content.as_bytes()), now);
        }
        state.scripts.insert(name.to_ascii_lowercase(), behaviour.into());
    }

    /// Forgets what scripts do, and lets go of what their calls hold.
    pub fn forget_scripts(&self) {
        let forgotten = std::mem::take(&mut self.state().scripts);
        // Dropped here, without the lock.
        drop(forgotten);
    }

    /// Puts a file on a machine's disk, or with `*` on that of every machine, for GetFile to collect.
    pub fn put_remote_file(&self, machine: &str, path: &str, content: Content) -> Result<()> {
        let mut state = self.state();
        let key = if machine == "*" {
            machine.to_owned()
        } else {
            let at = state.known_machine(machine)?;
            state.machines.get(at).map_or_else(String::new, |machine| machine.id.clone())
        };
        state.files.put(&key, path, content);
        Ok(())
    }

    /// Lays a fault for the `nth` call from now on, and the `times - 1` after it, that `method` and `path` match. A path is
    /// a route's name, as [`Route::name`] has it, or a path in which `*` or `{id}` stands for a segment.
    pub fn fault(&self, method: &str, path: &str, fault: Fault, nth: u32, times: u32) -> Result<()> {
        self.state().faults.lay(method, path, fault, nth, times)
    }

    /// Its clock jumps.
    pub fn advance(&self, seconds: f64) {
        self.state().jumped += clock::ticks(seconds.max(0.0));
        drop(self.settled());
    }

    /// Changes switches while it runs.
    pub fn set_switches(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.state().switches);
    }
}
