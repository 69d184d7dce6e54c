//! The lifecycle of a session: what happens to it, and when.
//!
//! No task runs in the background. Every call to the emulator first applies the events that are
//! due.

use crate::emulator::clock::{SECOND, Tick, ticks};
use crate::emulator::session::action::Status;
use crate::emulator::session::events::{DueScript, SessionEvent};
use crate::emulator::state::State;

/// Time from when a machine receives a command until it runs it.
const DISPATCH_DELAY: Tick = SECOND / 10;

impl State {
    /// Applies the events that are due at `now`. Stops early if a script must be called first.
    pub fn advance(&mut self, now: Tick) -> Option<DueScript> {
        while let Some((when, action, event)) = self.events.pop_due(now) {
            if let Some(due) = self.handle_event(action, event, when) {
                return Some(due);
            }
        }
        None
    }

    /// Applies one event. Returns a script that the caller must run without the lock.
    fn handle_event(
        &mut self,
        action_index: u32,
        event: SessionEvent,
        when: Tick,
    ) -> Option<DueScript> {
        let action = self.actions.get(action_index)?;
        let (open, pending, step) =
            (action.status.is_open(), action.status == Status::Pending, action.current_step);
        match event {
            SessionEvent::Start if pending && self.machines.get(action.machine)?.online => {
                self.start_session(action_index, when)
            }
            SessionEvent::Expire if pending => {
                let status = Status::Terminal(self.switches.queue_expiry_status.clone());
                if self.switches.stuck_after_timeout {
                    let machine = action.machine;
                    self.machines.get_mut(machine)?.stuck = true;
                }
                self.finish(action_index, status, when);
            }
            SessionEvent::Execute(i) if open && i == step => {
                return self.execute(action_index, i, when);
            }
            SessionEvent::EndStep(i) if open && i == step => self.end_step(action_index, i, when),
            SessionEvent::Cancel if open => self.apply_cancel(action_index, when),
            SessionEvent::EndForeign if open => self.end_foreign(action_index, when),
            // Events stay in the queue when they no longer apply, as those of a cancelled action.
            _ => {}
        }
        None
    }

    /// Schedules the start and the expiry of an action that was just accepted.
    pub fn schedule_start(&mut self, action_index: u32, now: Tick) {
        let Some(machine) =
            self.actions.get(action_index).and_then(|action| self.machines.get(action.machine))
        else {
            return;
        };
        // On an offline machine the session stays Pending. `set_online` schedules its start.
        if machine.online {
            self.events.schedule(now + machine.start_delay, action_index, SessionEvent::Start);
        }
        self.events.schedule(
            now + ticks(self.limits.queue_time),
            action_index,
            SessionEvent::Expire,
        );
    }

    /// Takes a machine online or offline. A pending session starts when its machine comes online.
    pub fn set_online(&mut self, machine: u32, online: bool, now: Tick) {
        let Some(known) = self.machines.get_mut(machine) else { return };
        let came_online = online && !known.online;
        if known.online != online {
            // It reports when it starts, and was seen until it went.
            known.seen = now;
        }
        known.online = online;
        // While the machine was offline, the Start event was ignored or not scheduled at all.
        if let (true, Some(action_index)) = (came_online, known.active) {
            let when = now + known.start_delay;
            self.events.schedule(when, action_index, SessionEvent::Start);
        }
    }

    /// Starts a pending action on its machine.
    fn start_session(&mut self, action_index: u32, when: Tick) {
        let Some(action) = self.actions.get_mut(action_index) else { return };
        action.status = Status::InProgress;
        action.updated = when;
        if let Some(application) = action.application {
            self.session_counts.mark_running(application);
        }
        self.dispatch_step(action_index, 0, when);
    }

    /// Hands a command to the machine, which runs it a little later.
    pub fn dispatch_step(&mut self, action_index: u32, step_index: usize, when: Tick) {
        let Some(action) = self.actions.get_mut(action_index) else { return };
        action.current_step = step_index;
        let Some(step) = action.steps.get_mut(step_index) else { return };
        step.submitted = Some(when);
        step.start = Some(when + DISPATCH_DELAY);
        self.events.schedule(
            when + DISPATCH_DELAY,
            action_index,
            SessionEvent::Execute(step_index),
        );
    }

    /// Schedules the cancellation of an open action. It has no effect if the action ends before
    /// `when`.
    pub fn schedule_cancel(&mut self, action_index: u32, when: Tick) {
        self.events.schedule(when, action_index, SessionEvent::Cancel);
    }

    /// Ends an action as Cancelled, and its running command as Failed.
    fn apply_cancel(&mut self, action_index: u32, when: Tick) {
        let Some(action) = self.actions.get_mut(action_index) else { return };
        let running = action.status == Status::InProgress;
        if let Some(step) = action
            .steps
            .get_mut(action.current_step)
            .filter(|step| running && step.submitted.is_some())
        {
            step.end = Some(when);
            // A command that was handed over but had not begun yet has no start time.
            step.start = step.start.filter(|start| *start <= when);
            step.failed = true;
            step.result = None;
            step.errors.push("The command was cancelled.".to_owned());
        }
        let machine = action.machine;
        self.finish(action_index, Status::Cancelled, when);
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.busy_until = when + ticks(self.switches.busy_after_cancel);
        }
    }

    /// Ends an action and frees its machine.
    pub fn finish(&mut self, action_index: u32, status: Status, when: Tick) {
        let Some(action) = self.actions.get_mut(action_index) else { return };
        if let Some(application) = action.application {
            self.session_counts.remove(application, action.status == Status::InProgress);
        }
        // What never began on its machine may be submitted again, whatever its client knows.
        if action.status == Status::Pending {
            self.submits.mark_settled(action_index);
        }
        action.status = status;
        action.updated = when;
        action.ended = Some(when);
        if let Some(machine) = self.machines.get_mut(action.machine)
            && machine.active == Some(action_index)
        {
            machine.active = None;
        }
    }
}
