//! Runs the commands of a session: what each one does, and how it ends.

use std::sync::Arc;

use crate::emulator::clock::{SECOND, Tick, ticks};
use crate::emulator::control::switches::{MissingFile, NonzeroExit};
use crate::emulator::session::action::{Command, Status, Step, StepFailure, StepResult};
use crate::emulator::session::events::{DueScript, SessionEvent};
use crate::emulator::session::script::{Behaviour, ScriptOutcome, echo};
use crate::emulator::state::State;

impl State {
    /// Runs a command. Returns a script that the caller must run without the lock.
    pub fn execute(
        &mut self,
        action_index: u32,
        step_index: usize,
        when: Tick,
    ) -> Option<DueScript> {
        let action = self.actions.get(action_index)?;
        let command = &action.steps.get(step_index)?.command;
        let wanted = match command {
            Command::PutFile { name } | Command::RunScript { name, .. } => Some(name),
            Command::GetFile { .. } => None,
        };
        // Whether such a submit is accepted at all is a switch (docs/service.md, section 15).
        let missing = wanted.filter(|name| !self.library.contains(name)).map(|missing| {
            StepFailure::new(format!(
                "The file '{missing}' was not found in the live response library."
            ))
        });
        let failure = missing
            .or_else(|| self.command_line_failure(command))
            .or_else(|| self.put_file_failure(command, action.machine));
        if let Some(failure) = failure {
            let due = when + SECOND / 5;
            self.schedule_step_end(action_index, step_index, due, Some(failure), None);
            return None;
        }
        let Command::RunScript { name, args } = command else {
            let duration = SECOND / 4 + self.rng.i64(0..SECOND / 4);
            self.schedule_step_end(action_index, step_index, when + duration, None, None);
            return None;
        };
        if let Some(outcome) = self.hash_mismatch(name) {
            self.record_script_outcome(action_index, step_index, outcome);
            return None;
        }
        match self.scripts.get(&name.to_ascii_lowercase()) {
            Some(Behaviour::Callback(run)) => {
                let (machine, args) = (action.machine_id.clone(), args.clone());
                return Some(DueScript {
                    action: action_index,
                    step: step_index,
                    machine,
                    args,
                    run: Arc::clone(run),
                });
            }
            Some(Behaviour::Fixed(outcome)) => {
                let outcome = outcome.clone();
                self.record_script_outcome(action_index, step_index, outcome);
            }
            // A script that a test says nothing about prints its name and arguments.
            None => {
                let outcome = echo(name, args.as_deref());
                self.record_script_outcome(action_index, step_index, outcome);
            }
        }
        None
    }

    /// Records what a script did and schedules the end of its command.
    pub fn record_script_outcome(
        &mut self,
        action_index: u32,
        step_index: usize,
        outcome: ScriptOutcome,
    ) {
        let start = self
            .actions
            .get(action_index)
            .and_then(|action| action.steps.get(step_index)?.start)
            .unwrap_or(0);
        let (duration, limit) = (ticks(outcome.duration.max(0.0)), ticks(self.limits.script_time));
        let failing_code = outcome
            .exit_code
            .filter(|code| *code != 0 && self.switches.nonzero_exit == NonzeroExit::Failed);
        let failure = if duration > limit {
            let message =
                format!("The script timed out after {} seconds.", self.limits.script_time);
            Some(StepFailure { message, timed_out: true })
        } else {
            let by_code =
                || failing_code.map(|code| format!("The script ended with exit code {code}."));
            outcome.fails.clone().or_else(by_code).map(StepFailure::new)
        };
        // A script that was stopped may still have written output.
        let keeps = failure.is_none() || self.switches.failed_script_has_transcript;
        let result = keeps.then(|| StepResult::Script(Arc::new(outcome)));
        self.schedule_step_end(
            action_index,
            step_index,
            start + duration.min(limit),
            failure,
            result,
        );
    }

    /// Stores how a command will end, and schedules its end.
    fn schedule_step_end(
        &mut self,
        action_index: u32,
        step_index: usize,
        due: Tick,
        failure: Option<StepFailure>,
        result: Option<StepResult>,
    ) {
        // The action may have been cancelled while its script ran without the lock.
        let open = self.actions.get_mut(action_index).filter(|action| action.status.is_open());
        let Some(step) = open.and_then(|action| action.steps.get_mut(step_index)) else { return };
        step.due = Some(due);
        step.failure = failure;
        step.result = result;
        self.events.schedule(due, action_index, SessionEvent::EndStep(step_index));
    }

    /// Ends a command: continues with the next one, or ends the action.
    pub fn end_step(&mut self, action_index: u32, step_index: usize, when: Tick) {
        self.collect_file(action_index, step_index);
        let Some(action) = self.actions.get_mut(action_index) else { return };
        let last = action.steps.len() == step_index + 1;
        let Some(step) = action.steps.get_mut(step_index) else { return };
        step.end = Some(when);
        action.updated = when;
        let Some(failure) = step.failure.take() else {
            if last {
                self.finish(action_index, Status::Succeeded, when);
            } else {
                self.dispatch_step(action_index, step_index + 1, when);
            }
            return;
        };
        step.failed = true;
        step.errors.push(failure.message);
        let word = if failure.timed_out {
            &self.switches.script_timeout_status
        } else {
            &self.switches.failed_status
        };
        let status = Status::Terminal(word.clone());
        self.finish(action_index, status, when);
    }

    /// Collects the file of a GetFile from the machine. An empty file cannot be collected
    /// (docs/service.md, section 7.3).
    fn collect_file(&mut self, action_index: u32, step_index: usize) {
        let Some(action) = self.actions.get_mut(action_index) else { return };
        let Some(step) = action.steps.get_mut(step_index) else { return };
        let Command::GetFile { path } = &step.command else { return };
        match self.files.find(&action.machine_id, path) {
            Some(content) if content.is_empty() => {
                step.failure = Some(StepFailure::new(format!("The file '{path}' is empty.")));
            }
            Some(content) => step.result = Some(StepResult::File(content)),
            None => {
                step.failure = Some(StepFailure::new(format!(
                    "The file '{path}' was not found on the device."
                )))
            }
        }
    }

    /// Returns the first file that is not in the library, if the switch says that a submit with
    /// such a file is refused.
    pub fn missing_library_file(&self, steps: &[Step]) -> Option<String> {
        if self.switches.missing_file != MissingFile::Refused {
            return None;
        }
        let mut names = steps.iter().filter_map(|step| match &step.command {
            Command::PutFile { name } | Command::RunScript { name, .. } => Some(name),
            Command::GetFile { .. } => None,
        });
        names.find(|name| !self.library.contains(name)).cloned()
    }
}
