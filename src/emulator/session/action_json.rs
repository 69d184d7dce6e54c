//! The JSON form of an action (docs/service.md, section 6).

use uuid::Uuid;

use crate::emulator::clock::{SECOND, Tick, ticks, write_time};
use crate::emulator::control::raw_properties::{EntityKind, RawProperties};
use crate::emulator::control::switches::Switches;
use crate::emulator::session::action::{Action, Command, Step};
use crate::emulator::session::comment::shown_comment;
use crate::emulator::write_json;

/// The time and the switches that decide how an action is shown.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub now: Tick,
    pub switches: &'a Switches,
    pub raw: &'a RawProperties,
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
        let start = out.len();
        self.write_properties(out, view);
        view.raw.apply(EntityKind::Action, &self.id.to_string(), out, start);
    }

    fn write_properties(&self, out: &mut Vec<u8>, view: View<'_>) {
        // In production, the first body of a new action may lack its machine and commands
        // (docs/service.md, section 18).
        let hide_details = view.switches.null_first_body > 0.0
            && !is_visible_after(self, view.switches.null_first_body, view.now);
        out.extend_from_slice(b"\"id\":\"");
        let mut id = Uuid::encode_buffer();
        out.extend_from_slice(self.id.hyphenated().encode_lower(&mut id).as_bytes());
        out.extend_from_slice(b"\",\"type\":\"LiveResponse\"");
        let comment = shown_comment(&self.comment, self.created, view.now, view.switches);
        write_text_field(out, "title", self.title.as_deref());
        write_text_field(out, "requestor", Some(&self.requestor));
        write_text_field(out, "requestorComment", comment.as_deref());
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
    seconds <= 0.0 || now >= action.created + ticks(seconds)
}

impl Step {
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
