//! A machine action and its JSON form (docs/service.md, section 6).

use std::sync::Arc;

use uuid::Uuid;

use crate::emulator::clock::{SECOND, Tick};
use crate::emulator::control::switches::Switches;
use crate::emulator::session::json_fields::{write_param, write_text_field, write_time_field};
use crate::emulator::session::script::ScriptOutcome;
use crate::emulator::write_json;

/// The status of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    InProgress,
    Succeeded,
    Cancelled,
    /// `Failed`, `TimeOut`, or a word that a switch sets.
    Terminal(String),
}

impl Status {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Cancelled => "Cancelled",
            Self::Terminal(word) => word,
        }
    }

    /// Returns whether the action is still queued or running.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Pending | Self::InProgress)
    }
}

/// A command as the client submitted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    PutFile { name: String },
    RunScript { name: String, args: Option<String> },
    GetFile { path: String },
}

/// A command of an action, and its progress.
#[derive(Debug)]
pub struct Step {
    pub command: Command,
    /// When the command was handed to the machine. It executes a little later, at `start`.
    pub submitted: Option<Tick>,
    pub start: Option<Tick>,
    /// When it will end, as soon as that is known.
    pub due: Option<Tick>,
    pub end: Option<Tick>,
    pub failed: bool,
    pub errors: Vec<String>,
    pub result: Option<StepResult>,
    /// Why it will fail, as soon as that is known.
    pub failure: Option<StepFailure>,
}

/// Why a command fails.
#[derive(Debug)]
pub struct StepFailure {
    pub message: String,
    /// Whether a script ran longer than scripts may.
    pub timed_out: bool,
}

impl StepFailure {
    pub fn new(message: String) -> Self {
        Self { message, timed_out: false }
    }
}

/// The result of a command.
#[derive(Clone, Debug)]
pub enum StepResult {
    Script(Arc<ScriptOutcome>),
    File(Content),
}

/// The content of a file: in memory, or a path on the local disk.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(bytes::Bytes),
    Path(std::path::PathBuf),
}

/// A request to cancel an action.
#[derive(Debug)]
pub struct Cancellation {
    pub comment: String,
    pub requestor: String,
    pub requested_at: Tick,
}

/// A live response action: one session on one machine.
#[derive(Debug)]
pub struct Action {
    pub id: Uuid,
    pub machine: u32,
    pub machine_id: String,
    pub computer_name: String,
    pub application: Option<u32>,
    pub requestor: Arc<str>,
    pub comment: String,
    pub external_id: Option<String>,
    pub title: Option<String>,
    pub source: String,
    pub created: Tick,
    pub updated: Tick,
    pub ended: Option<Tick>,
    pub status: Status,
    pub steps: Vec<Step>,
    /// The index of the step that runs now.
    pub current_step: usize,
    pub cancellation: Option<Cancellation>,
    /// Whether the API shows the action. It does not show portal sessions.
    pub listed: bool,
    /// Whether a submit that finds the machine busy with this action gets 201 and this action.
    pub returned_for_other_submits: bool,
}

/// The time and the switches that decide how an action is shown.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub now: Tick,
    pub switches: &'a Switches,
}

impl Action {
    /// Returns whether lists show the action.
    pub fn is_visible_in_lists(&self, view: View<'_>) -> bool {
        self.listed && is_visible_after(self, view.switches.list_lag, view.now)
    }

    /// Returns whether a call with its id finds the action.
    pub fn is_visible_by_id(&self, view: View<'_>) -> bool {
        self.listed && is_visible_after(self, view.switches.fresh_404, view.now)
    }

    /// Writes the entity's properties in the service's order, without braces and `@odata.context`.
    pub fn write(&self, out: &mut Vec<u8>, view: View<'_>) {
        // In production, the first body of a new action may lack its machine and commands
        // (docs/service.md, section 18).
        let hide_details = view.switches.null_first_body > 0.0
            && !is_visible_after(self, view.switches.null_first_body, view.now);
        out.extend_from_slice(b"\"id\":\"");
        let mut id = Uuid::encode_buffer();
        out.extend_from_slice(self.id.hyphenated().encode_lower(&mut id).as_bytes());
        out.extend_from_slice(b"\",\"type\":\"LiveResponse\"");
        let comment = Some(self.comment.as_str())
            .filter(|_| !(hide_details && view.switches.null_first_comment));
        write_text_field(out, "title", self.title.as_deref());
        write_text_field(out, "requestor", Some(&self.requestor));
        write_text_field(out, "requestorComment", comment);
        write_text_field(out, "status", Some(self.status.as_str()));
        write_text_field(
            out,
            "machineId",
            Some(self.machine_id.as_str()).filter(|_| !hide_details),
        );
        write_text_field(
            out,
            "computerDnsName",
            Some(self.computer_name.as_str()).filter(|_| !hide_details),
        );
        write_time_field(out, "creationDateTimeUtc", Some(self.created));
        write_time_field(out, "lastUpdateDateTimeUtc", Some(self.updated));
        let show_cancellation = view.switches.cancel_fields_at_once || !self.status.is_open();
        let cancellation = self.cancellation.as_ref().filter(|_| show_cancellation);
        write_text_field(
            out,
            "cancellationRequestor",
            cancellation.map(|cancellation| cancellation.requestor.as_str()),
        );
        write_text_field(
            out,
            "cancellationComment",
            cancellation.map(|cancellation| cancellation.comment.as_str()),
        );
        write_time_field(
            out,
            "cancellationDateTimeUtc",
            cancellation.map(|cancellation| cancellation.requested_at),
        );
        out.extend_from_slice(b",\"errorHResult\":0,\"scope\":null");
        write_text_field(out, "externalId", self.external_id.as_deref());
        write_text_field(out, "requestSource", Some(&self.source));
        out.extend_from_slice(b",\"relatedFileInfo\":null,\"commands\":[");
        if !hide_details {
            for (index, step) in self.steps.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                step.write(out, index, self, view);
            }
        }
        out.extend_from_slice(b"],\"troubleshootInfo\":null");
    }
}

/// Returns whether an action is at least `seconds` old.
fn is_visible_after(action: &Action, seconds: f64, now: Tick) -> bool {
    seconds <= 0.0 || now >= action.created + crate::emulator::clock::ticks(seconds)
}

impl Step {
    pub fn new(command: Command) -> Self {
        Self {
            command,
            submitted: None,
            start: None,
            due: None,
            end: None,
            failed: false,
            errors: Vec::new(),
            result: None,
            failure: None,
        }
    }

    /// Returns the command's status: `Created`, `Submitted`, `PendingResource`, `Executing`, then
    /// `Completed` or `Failed` (docs/service.md, section 15, row 30).
    fn status<'a>(&'a self, action: &Action, view: View<'a>) -> &'a str {
        if self.end.is_some() {
            return if self.failed { "Failed" } else { "Completed" };
        }
        let (Some(submitted), Some(start)) = (self.submitted, self.start) else {
            return if action.status.is_open() { "Created" } else { &view.switches.skipped_status };
        };
        // No event marks the states in between: they follow from the time of the call.
        if view.now >= start {
            "Executing"
        } else if !view.switches.command_states {
            "Created"
        } else if view.now < submitted + SECOND / 20
            || matches!(self.command, Command::GetFile { .. })
        {
            "Submitted"
        } else {
            "PendingResource"
        }
    }

    /// Writes the command's entry of `commands`.
    fn write(&self, out: &mut Vec<u8>, index: usize, action: &Action, view: View<'_>) {
        out.extend_from_slice(b"{\"index\":");
        write_json(out, &index);
        write_time_field(out, "startTime", self.start.filter(|start| *start <= view.now));
        write_time_field(out, "endTime", self.end);
        write_text_field(out, "commandStatus", Some(self.status(action, view)));
        out.extend_from_slice(b",\"errors\":");
        write_json(out, &self.errors);
        out.extend_from_slice(b",\"command\":{\"type\":\"");
        let (kind, (key, value), args) = match &self.command {
            Command::PutFile { name } => ("PutFile", ("FileName", name), None),
            Command::RunScript { name, args } => ("RunScript", ("ScriptName", name), args.as_ref()),
            Command::GetFile { path } => ("GetFile", ("Path", path), None),
        };
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"params\":[");
        write_param(out, key, value);
        if let Some(args) = args {
            out.push(b',');
            write_param(out, "Args", args);
        }
        out.extend_from_slice(b"]}}");
    }
}
