//! The fault that answers with another entity than the one that was asked for.

use crate::emulator::clock::Tick;
use crate::emulator::inventory::machine::{Machine, NewMachine};
use crate::emulator::session::action::{Action, Status, Step};
use crate::emulator::state::State;
use crate::emulator::wire::reply::{EntityRef, Reply};

impl State {
    /// Returns a response with another entity in place of the one in `reply`: the one with the id
    /// `wanted`, or any other. A response without an entity is not changed.
    pub fn wrong_entity(&mut self, reply: Reply, wanted: Option<&str>, now: Tick) -> Reply {
        let other = match reply.entity {
            None => return reply,
            Some(EntityRef::Action(index)) => self.other_action(index, wanted, reply.status, now),
            Some(EntityRef::Machine(index)) => self.other_machine(index, wanted, now),
        };
        // The headers of the tracking id and of the content are those of any entity.
        let mut headers = reply.headers;
        headers.extend(other.headers);
        headers.remove(http::header::CONTENT_ENCODING);
        Reply { headers, status: reply.status, ..other }
    }

    fn other_action(
        &mut self,
        index: u32,
        wanted: Option<&str>,
        status: http::StatusCode,
        now: Tick,
    ) -> Reply {
        let wanted = wanted.and_then(|id| uuid::Uuid::parse_str(id).ok());
        let found = wanted.and_then(|id| self.actions.by_id(id)).or_else(|| {
            let machine = self.actions.get(index)?.machine;
            let others = || self.actions.iter().rev().filter(|(other, _)| *other != index);
            let elsewhere = others().find(|(_, other)| other.machine != machine);
            elsewhere.or_else(|| others().next()).map(|(other, _)| other)
        });
        if let Some(found) = found {
            return self.action_entity(found, status, now);
        }
        match self.made_up_action(index, now) {
            Some(other) => self.entity_of_action(&other, status, now),
            None => self.action_entity(index, status, now),
        }
    }

    /// Returns an action that no call finds, with the commands of another, on another machine.
    fn made_up_action(&mut self, index: u32, now: Tick) -> Option<Action> {
        let like = self.actions.get(index)?;
        let (machine, requestor) = (like.machine, like.requestor.clone());
        let steps = like.steps.iter().map(|step| Step::new(step.command.clone())).collect();
        let other = self.made_up_machine(machine, now);
        let id = self.new_uuid();
        let mut action = self.new_action(id, machine, &requestor, "Another session".into(), now);
        action.machine_id = other.id;
        action.computer_name = other.name;
        action.status = Status::InProgress;
        action.steps = steps;
        Some(action)
    }

    fn other_machine(&mut self, index: u32, wanted: Option<&str>, now: Tick) -> Reply {
        let wanted = wanted.and_then(|id| self.machines.find(id));
        let count = u32::try_from(self.machines.iter().count()).unwrap_or(u32::MAX);
        let found = wanted.or_else(|| (0..count).find(|other| *other != index));
        match found.and_then(|found| self.machines.get(found)) {
            Some(found) => self.machine_entity(found),
            None => {
                let other = self.made_up_machine(index, now);
                self.machine_entity(&other)
            }
        }
    }

    /// Returns a machine that no call finds.
    fn made_up_machine(&mut self, index: u32, now: Tick) -> Machine {
        let name = match self.machines.get(index) {
            Some(like) => format!("other-{}", like.name),
            None => "other.example.test".to_owned(),
        };
        let id = self.new_machine_id();
        Machine::new(NewMachine::named(name), id, now)
    }
}
