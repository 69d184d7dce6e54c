//! The life of a session: what happens to it, and when. Nothing runs on its own: time is made up for on every call.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::action::{Order, Status, Step, StepResult};
use super::clock::{SECOND, Tick, ticks};
use super::script::{Behaviour, ScriptCall, ScriptOutcome, echo};
use super::state::State;
use super::switches::{MissingFile, NonzeroExit};

/// From a command's being handed over until it executes.
const HAND_OVER: Tick = SECOND / 10;

/// What will happen to an action. One that no longer fits its state by then is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start,
    Expire,
    Execute(usize),
    EndStep(usize),
    Cancel,
    Leave,
}

/// All that is to happen, soonest first; of the same moment, what was planned first.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Tick, u64, u32, Event)>>,
    planned: u64,
}

impl Agenda {
    fn plan(&mut self, when: Tick, action: u32, event: Event) {
        self.planned += 1;
        self.heap.push(Reverse((when, self.planned, action, event)));
    }

    fn due(&mut self, now: Tick) -> Option<(Tick, u32, Event)> {
        let Reverse((when, ..)) = self.heap.peek()?;
        if *when > now {
            return None;
        }
        self.heap.pop().map(|Reverse((when, _, action, event))| (when, action, event))
    }
}

/// A script to be called outside the lock.
pub(super) struct Call {
    pub action: u32,
    pub step: usize,
    pub machine: String,
    pub args: Option<String>,
    pub run: ScriptCall,
}

impl State {
    /// Makes up for the time until `now`, or until a script has to be called.
    pub fn advance(&mut self, now: Tick) -> Option<Call> {
        while let Some((when, action, event)) = self.agenda.due(now) {
            if let Some(call) = self.happen(action, event, when) {
                return Some(call);
            }
        }
        None
    }

    fn happen(&mut self, at: u32, event: Event, when: Tick) -> Option<Call> {
        let action = self.actions.get(at)?;
        let (open, pending, step) = (action.status.is_open(), action.status == Status::Pending, action.at);
        match event {
            Event::Start if pending && self.machines.get(action.machine)?.online => self.begin(at, when),
            Event::Expire if pending => {
                let status = Status::Ended(self.switches.queue_expiry_status.clone());
                if self.switches.stuck_after_timeout {
                    let machine = action.machine;
                    self.machines.get_mut(machine)?.stuck = true;
                }
                self.finish(at, status, when);
            }
            Event::Execute(i) if open && i == step => return self.execute(at, i, when),
            Event::EndStep(i) if open && i == step => self.end_step(at, i, when),
            Event::Cancel if open => self.cancelled(at, when),
            Event::Leave if open => self.leave(at, when),
            _ => {}
        }
        None
    }

    /// Plans the life of an action that was just accepted.
    pub fn accepted(&mut self, at: u32, now: Tick) {
        let Some(machine) = self.actions.get(at).and_then(|action| self.machines.get(action.machine)) else { return };
        if machine.online {
            self.agenda.plan(now + machine.start_delay, at, Event::Start);
        }
        self.agenda.plan(now + ticks(self.limits.queue_time), at, Event::Expire);
    }

    /// Plans the end of another's session.
    pub fn occupied(&mut self, at: u32, until: Tick) {
        self.agenda.plan(until, at, Event::Leave);
    }

    fn leave(&mut self, at: u32, when: Tick) {
        for step in self.actions.get_mut(at).into_iter().flat_map(|action| &mut action.steps) {
            step.end = Some(when);
        }
        self.finish(at, Status::Succeeded, when);
    }

    pub fn set_online(&mut self, machine: u32, online: bool, now: Tick) {
        let Some(known) = self.machines.get_mut(machine) else { return };
        let came = online && !known.online;
        known.online = online;
        if let (true, Some(at)) = (came, known.active) {
            let when = now + known.start_delay;
            self.agenda.plan(when, at, Event::Start);
        }
    }

    fn begin(&mut self, at: u32, when: Tick) {
        let Some(action) = self.actions.get_mut(at) else { return };
        action.status = Status::InProgress;
        action.updated = when;
        if let Some(application) = action.application {
            self.open.started(application);
        }
        self.hand_over(at, 0, when);
    }

    fn hand_over(&mut self, at: u32, index: usize, when: Tick) {
        let Some(action) = self.actions.get_mut(at) else { return };
        action.at = index;
        let Some(step) = action.steps.get_mut(index) else { return };
        step.submitted = Some(when);
        step.start = Some(when + HAND_OVER);
        self.agenda.plan(when + HAND_OVER, at, Event::Execute(index));
    }

    fn execute(&mut self, at: u32, index: usize, when: Tick) -> Option<Call> {
        let action = self.actions.get(at)?;
        let order = &action.steps.get(index)?.order;
        let wanted = match order {
            Order::PutFile { name } | Order::RunScript { name, .. } => Some(name),
            Order::GetFile { .. } => None,
        };
        if let Some(missing) = wanted.filter(|name| !self.library.holds(name)) {
            let why = format!("The file '{missing}' was not found in the live response library.");
            self.plan_end(at, index, when + SECOND / 5, Some(why), None);
            return None;
        }
        let Order::RunScript { name, args } = order else {
            let takes = SECOND / 4 + self.rng.i64(0..SECOND / 4);
            self.plan_end(at, index, when + takes, None, None);
            return None;
        };
        match self.scripts.get(&name.to_ascii_lowercase()) {
            Some(Behaviour::Call(run)) => {
                let (machine, args) = (action.machine_id.clone(), args.clone());
                return Some(Call { action: at, step: index, machine, args, run: Arc::clone(run) });
            }
            Some(Behaviour::Fixed(outcome)) => {
                let outcome = outcome.clone();
                self.script_ran(at, index, outcome);
            }
            None => {
                let outcome = echo(name, args.as_deref());
                self.script_ran(at, index, outcome);
            }
        }
        None
    }

    /// Takes in what a script did.
    pub fn script_ran(&mut self, at: u32, index: usize, outcome: ScriptOutcome) {
        let start = self.actions.get(at).and_then(|action| action.steps.get(index)?.start).unwrap_or(0);
        let (takes, limit) = (ticks(outcome.duration.max(0.0)), ticks(self.limits.script_time));
        let failing_code =
            outcome.exit_code.filter(|code| *code != 0 && self.switches.nonzero_exit == NonzeroExit::Failed);
        let doom = if takes > limit {
            Some(format!("The script timed out after {} seconds.", self.limits.script_time))
        } else {
            let by_code = || failing_code.map(|code| format!("The script ended with exit code {code}."));
            outcome.fails.clone().or_else(by_code)
        };
        let keeps = doom.is_none() || self.switches.failed_script_has_transcript;
        let result = keeps.then(|| StepResult::Script(Arc::new(outcome)));
        self.plan_end(at, index, start + takes.min(limit), doom, result);
    }

    fn plan_end(&mut self, at: u32, index: usize, due: Tick, doom: Option<String>, result: Option<StepResult>) {
        let open = self.actions.get_mut(at).filter(|action| action.status.is_open());
        let Some(step) = open.and_then(|action| action.steps.get_mut(index)) else { return };
        step.due = Some(due);
        step.doom = doom;
        step.result = result;
        self.agenda.plan(due, at, Event::EndStep(index));
    }

    fn end_step(&mut self, at: u32, index: usize, when: Tick) {
        self.collect(at, index);
        let Some(action) = self.actions.get_mut(at) else { return };
        let (last, script_time) = (action.steps.len() == index + 1, ticks(self.limits.script_time));
        let Some(step) = action.steps.get_mut(index) else { return };
        step.end = Some(when);
        action.updated = when;
        let Some(why) = step.doom.take() else {
            if last {
                self.finish(at, Status::Succeeded, when);
            } else {
                self.hand_over(at, index + 1, when);
            }
            return;
        };
        step.failed = true;
        let timed_out = why.starts_with("The script timed out") && step.start.is_some_and(|s| when - s >= script_time);
        step.errors.push(why);
        let word = if timed_out { &self.switches.script_timeout_status } else { &self.switches.failed_status };
        let status = Status::Ended(word.clone());
        self.finish(at, status, when);
    }

    /// Takes the file of a GetFile from the machine. An empty one cannot be collected (facts 7.3).
    fn collect(&mut self, at: u32, index: usize) {
        let Some(action) = self.actions.get_mut(at) else { return };
        let Some(step) = action.steps.get_mut(index) else { return };
        let Order::GetFile { path } = &step.order else { return };
        match self.files.find(&action.machine_id, path) {
            Some(content) if content.is_empty() => step.doom = Some(format!("The file '{path}' is empty.")),
            Some(content) => step.result = Some(StepResult::File(content)),
            None => step.doom = Some(format!("The file '{path}' was not found on the device.")),
        }
    }

    /// Asks for the end of an open action; it comes at `when`, unless the action ends first.
    pub fn plan_cancel(&mut self, at: u32, when: Tick) {
        self.agenda.plan(when, at, Event::Cancel);
    }

    fn cancelled(&mut self, at: u32, when: Tick) {
        let Some(action) = self.actions.get_mut(at) else { return };
        let running = action.status == Status::InProgress;
        if let Some(step) = action.steps.get_mut(action.at).filter(|step| running && step.submitted.is_some()) {
            step.end = Some(when);
            step.start = step.start.filter(|start| *start <= when);
            step.failed = true;
            step.result = None;
            step.errors.push("The command was cancelled.".to_owned());
        }
        let machine = action.machine;
        self.finish(at, Status::Cancelled, when);
        if let Some(machine) = self.machines.get_mut(machine) {
            machine.busy_until = when + ticks(self.switches.busy_after_cancel);
        }
    }

    fn finish(&mut self, at: u32, status: Status, when: Tick) {
        let Some(action) = self.actions.get_mut(at) else { return };
        if let Some(application) = action.application {
            self.open.ended(application, action.status == Status::InProgress);
        }
        action.status = status;
        action.updated = when;
        action.ended = Some(when);
        if let Some(machine) = self.machines.get_mut(action.machine)
            && machine.active == Some(at)
        {
            machine.active = None;
        }
    }

    /// Whether a file that a command names must be refused at once.
    pub fn refuses_missing(&self, steps: &[Step]) -> Option<String> {
        if self.switches.missing_file != MissingFile::Refused {
            return None;
        }
        let mut names = steps.iter().filter_map(|step| match &step.order {
            Order::PutFile { name } | Order::RunScript { name, .. } => Some(name),
            Order::GetFile { .. } => None,
        });
        names.find(|name| !self.library.holds(name)).cloned()
    }
}
