//! What the feed of calls says of each: its machine, and the rules that it broke.

use uuid::Uuid;

use crate::emulator::Emulator;
use crate::emulator::control::call_feed::{CallFeed, EndedCall};
use crate::emulator::control::request_log::Violations;
use crate::emulator::state::State;
use crate::emulator::wire::reply::{EntityRef, Reply};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::RouteMatch;

impl Violations {
    /// Returns the names of the rules that were broken since `before`.
    fn since(&self, before: &Self) -> Vec<&'static str> {
        let counts = [
            ("rate", self.rate, before.rate),
            ("sessions", self.sessions, before.sessions),
            ("machine_busy", self.machine_busy, before.machine_busy),
            ("bearer_at_blob", self.bearer_at_blob, before.bearer_at_blob),
            ("duplicate_submit", self.duplicate_submit, before.duplicate_submit),
        ];
        counts.into_iter().filter(|(_, now, before)| now > before).map(|it| it.0).collect()
    }
}

impl State {
    /// Notes what a served call was about, for the feed. `before` are the violations before it.
    pub fn note_call(
        &mut self,
        request: &IncomingRequest,
        matched: Option<&RouteMatch>,
        reply: &Reply,
        before: Violations,
    ) {
        let broken = self.violations().since(&before);
        let machine = self.machine_of_call(request, matched, reply);
        if let Some(notes) = self.log.feed.as_mut().and_then(|feed| feed.notes(request.number)) {
            notes.machine = machine;
            notes.broken = broken;
        }
    }

    fn machine_of_call(
        &self,
        request: &IncomingRequest,
        matched: Option<&RouteMatch>,
        reply: &Reply,
    ) -> Option<String> {
        let of_machine = |index| self.machines.get(index).map(|machine| machine.name.clone());
        let of_action = |index| self.actions.get(index).map(|it| it.computer_name.clone());
        match (reply.entity, matched) {
            (Some(EntityRef::Machine(index)), _) => of_machine(index),
            (Some(EntityRef::Action(index)), _) => of_action(index),
            (
                _,
                Some(
                    RouteMatch::RunLiveResponse { machine }
                    | RouteMatch::GetMachine { key: machine },
                ),
            ) => self.machines.find(machine).and_then(of_machine),
            (
                _,
                Some(
                    RouteMatch::GetMachineAction { id }
                    | RouteMatch::GetResultLink { id, .. }
                    | RouteMatch::CancelMachineAction { id },
                ),
            ) => self.actions.by_id(Uuid::parse_str(id).ok()?).and_then(of_action),
            _ => {
                let blob = request.path.rsplit('/').next()?;
                self.results.source(blob).and_then(|(action, _)| of_action(action))
            }
        }
    }
}

impl Emulator {
    /// Keeps each call that ends from now on, for [`take_calls`](Self::take_calls).
    pub fn follow_calls(&self) {
        self.lock_state().log.feed.get_or_insert_default();
    }

    /// Returns the calls that ended since this was last called, oldest first, and how many more
    /// there were.
    pub fn take_calls(&self) -> (Vec<EndedCall>, u64) {
        self.lock_state().log.feed.as_mut().map(CallFeed::take).unwrap_or_default()
    }
}
