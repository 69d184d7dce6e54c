//! A machine action and its wire form (facts.md, section 6).

use std::sync::Arc;

use uuid::Uuid;

use crate::emulator::clock::{SECOND, Tick, write_time};
use crate::emulator::control::switches::Switches;
use crate::emulator::session::script::ScriptOutcome;
use crate::emulator::write_json;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    InProgress,
    Succeeded,
    Cancelled,
    /// Failed, TimeOut, or what a switch says.
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

    pub fn is_open(&self) -> bool {
        matches!(self, Self::Pending | Self::InProgress)
    }
}

/// A command as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    PutFile { name: String },
    RunScript { name: String, args: Option<String> },
    GetFile { path: String },
}

#[derive(Debug)]
pub struct Step {
    pub command: Command,
    /// Handed to the machine; it executes a little later, at `start`.
    pub submitted: Option<Tick>,
    pub start: Option<Tick>,
    /// When it will have ended, once that is known.
    pub due: Option<Tick>,
    pub end: Option<Tick>,
    pub failed: bool,
    pub errors: Vec<String>,
    pub result: Option<StepResult>,
    /// Why it will fail, once that is known.
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

/// What a command left.
#[derive(Clone, Debug)]
pub enum StepResult {
    Script(Arc<ScriptOutcome>),
    File(Content),
}

/// A file's content: at hand, or on this disk.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(bytes::Bytes),
    Path(std::path::PathBuf),
}

#[derive(Debug)]
pub struct Cancellation {
    pub comment: String,
    pub requestor: String,
    pub requested_at: Tick,
}

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
    /// The step that is being run.
    pub current_step: usize,
    pub cancellation: Option<Cancellation>,
    /// Portal sessions are not listed.
    pub listed: bool,
    /// A submit that finds the machine busy with this gets 201 with this.
    pub returned_for_other_submits: bool,
}

/// How an action is shown.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub now: Tick,
    pub switches: &'a Switches,
}

impl Action {
    /// Whether lists show it.
    pub fn is_visible_in_lists(&self, view: View<'_>) -> bool {
        self.listed && is_visible_after(self, view.switches.list_lag, view.now)
    }

    /// Whether a call by its id finds it.
    pub fn is_visible_by_id(&self, view: View<'_>) -> bool {
        self.listed && is_visible_after(self, view.switches.fresh_404, view.now)
    }

    /// The entity, in the order of the wire, without braces and `@odata.context`.
    pub fn write(&self, out: &mut Vec<u8>, view: View<'_>) {
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
            cancellation.map(|by| by.requestor.as_str()),
        );
        write_text_field(out, "cancellationComment", cancellation.map(|by| by.comment.as_str()));
        write_time_field(out, "cancellationDateTimeUtc", cancellation.map(|by| by.requested_at));
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

    /// Created, Submitted, PendingResource, Executing, then Completed or Failed (facts 15, row 30).
    fn status<'a>(&'a self, action: &Action, view: View<'a>) -> &'a str {
        if self.end.is_some() {
            return if self.failed { "Failed" } else { "Completed" };
        }
        let (Some(submitted), Some(start)) = (self.submitted, self.start) else {
            return if action.status.is_open() { "Created" } else { &view.switches.skipped_status };
        };
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

    fn write(&self, out: &mut Vec<u8>, index: usize, action: &Action, view: View<'_>) {
        out.extend_from_slice(b"{\"index\":");
        write_json(out, &index);
        write_time_field(out, "startTime", self.start.filter(|start| *start <= view.now));
        write_time_field(out, "endTime", self.end);
        write_text_field(out, "commandStatus", Some(self.status(action, view)));
        out.extend_from_slice(b",\"errors\":");
        write_json(out, &self.errors);
        out.extend_from_slice(b",\"command\":{\"type\":\"");
        let (kind, first, second) = match &self.command {
            Command::PutFile { name } => ("PutFile", ("FileName", name), None),
            Command::RunScript { name, args } => ("RunScript", ("ScriptName", name), args.as_ref()),
            Command::GetFile { path } => ("GetFile", ("Path", path), None),
        };
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"params\":[");
        write_param(out, first.0, first.1);
        if let Some(args) = second {
            out.push(b',');
            write_param(out, "Args", args);
        }
        out.extend_from_slice(b"]}}");
    }
}

fn write_param(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend_from_slice(b"{\"key\":\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\",\"value\":");
    write_json(out, value);
    out.push(b'}');
}

fn write_text_field(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    write_key(out, name);
    match value {
        Some(value) => write_json(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

fn write_time_field(out: &mut Vec<u8>, name: &str, value: Option<Tick>) {
    write_key(out, name);
    match value {
        Some(tick) => {
            out.push(b'"');
            write_time(out, tick);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

fn write_key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
