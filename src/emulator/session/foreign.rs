//! Sessions of other callers, which keep a machine busy.

use uuid::Uuid;

use crate::emulator::clock::Tick;
use crate::emulator::session::action::{Command, Status, Step};
use crate::emulator::session::events::SessionEvent;
use crate::emulator::session::session_counts::FOREIGN_APPLICATION;
use crate::emulator::state::State;

impl State {
    /// Starts a session of another caller on a machine.
    ///
    /// If it is `listed`, it is another application's and counts towards the cap. If not, it is an
    /// analyst's in the portal, which no list shows. If `foreign` is set, a submit to the machine
    /// gets 201 with this action.
    pub fn add_foreign_session(
        &mut self,
        machine: u32,
        length: Tick,
        listed: bool,
        foreign: bool,
        now: Tick,
    ) -> Uuid {
        let id = self.new_uuid();
        let comment = "Session of an analyst".to_owned();
        let mut action = self.new_action(id, machine, "analyst@example.test", comment, now);
        action.application = listed.then_some(FOREIGN_APPLICATION);
        action.status = Status::InProgress;
        action.listed = listed;
        action.returned_for_other_submits = foreign;
        if !listed {
            "Portal".clone_into(&mut action.source);
        }
        let mut step = Step::new(Command::RunScript { name: "analyst.ps1".to_owned(), args: None });
        step.submitted = Some(now);
        step.start = Some(now);
        action.steps.push(step);
        let action_index = self.add_active_action(machine, action);
        if listed {
            self.session_counts.add_running(FOREIGN_APPLICATION);
        }
        self.events.schedule(now + length, action_index, SessionEvent::EndForeign);
        id
    }
    /// Ends such a session as Succeeded.
    pub fn end_foreign(&mut self, action_index: u32, when: Tick) {
        for step in
            self.actions.get_mut(action_index).into_iter().flat_map(|action| &mut action.steps)
        {
            step.end = Some(when);
        }
        self.finish(action_index, Status::Succeeded, when);
    }
}
