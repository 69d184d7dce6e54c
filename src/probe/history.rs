//! What the records of earlier sessions show.

use serde_json::Value;

use super::observations::{Observations, service_word};
use super::shape::shape_of;
use crate::config::Limits;
use crate::model::{ActionCommand, CommandType, MachineAction};

/// Characters that the portal refuses in arguments (docs/service.md, section 19).
const REFUSED_IN_PORTAL: [char; 7] = [';', '&', '|', '!', '$', '(', ')'];
/// A script that ran for this share of its limit was stopped by it.
const OF_SCRIPT_TIME: f64 = 0.95;
/// An action that waited for this share of the queue time ended because of it.
const OF_QUEUE_TIME: f64 = 0.5;
/// The properties of an action that are times.
const TIMES: [&str; 3] =
    ["creationDateTimeUtc", "lastUpdateDateTimeUtc", "cancellationDateTimeUtc"];

pub(super) fn read_history(actions: &[MachineAction], limits: Limits, evidence: &mut Observations) {
    evidence.fact("actions", actions.len());
    for action in actions {
        evidence.tally("statuses", service_word(&action.status));
        if let Some(source) = &action.request_source {
            evidence.tally("request_sources", service_word(source));
        }
        if let Some(name) = action.error_name() {
            evidence.tally("hresults", name);
        }
        count_digits(action, evidence);
        for command in &action.commands {
            read_command(action, command, evidence);
        }
        read_failure(action, &limits, evidence);
        read_expiry(action, &limits, evidence);
    }
}

/// Returns whether the action may still change.
pub(super) fn is_open(action: &MachineAction) -> bool {
    matches!(action.status.as_str(), "" | "Pending" | "InProgress")
}

/// Returns whether somebody cancelled the action, or tried to.
pub(super) fn is_cancelled(action: &MachineAction) -> bool {
    action.status == "Cancelled"
        || action.cancellation_date_time_utc.is_some()
        || action.cancellation_requestor.is_some()
}

/// Returns how long the command ran, in seconds.
pub(super) fn duration_of(command: &ActionCommand) -> Option<f64> {
    Some(command.end_time?.to_unix() - command.start_time?.to_unix())
}

fn read_command(action: &MachineAction, command: &ActionCommand, evidence: &mut Observations) {
    evidence.tally("command_statuses", service_word(&command.status));
    if matches!(command.status.as_str(), "Submitted" | "PendingResource") {
        evidence.add("command_states", true);
    }
    if let Some(args) = command.command.param("Args") {
        evidence.fact_at_least("longest_args", args.chars().count() as u64);
        // Only the API takes what the portal refuses.
        if args.contains(REFUSED_IN_PORTAL) && action.request_source.as_deref() != Some("Portal") {
            evidence.add("portal_characters_refused", false);
        }
    }
    for error in &command.errors {
        evidence.tally("errors", shape_of(error));
    }
    let needs_file = matches!(
        command.command.command_type(),
        Some(CommandType::PutFile | CommandType::RunScript)
    );
    if needs_file && command.status == "Failed" && command.errors.iter().any(|it| says_missing(it))
    {
        evidence.add("missing_file", "fails");
    }
}

fn says_missing(error: &str) -> bool {
    let error = error.to_lowercase();
    error.contains("library") && (error.contains("not found") || error.contains("not exist"))
}

/// Reads what a failed command does to its action and to the commands after it.
fn read_failure(action: &MachineAction, limits: &Limits, evidence: &mut Observations) {
    if is_open(action) || is_cancelled(action) {
        return;
    }
    // A command that was skipped may have any status.
    let is_failed = |it: &ActionCommand| it.status == "Failed" && it.end_time.is_some();
    let Some(at) = action.commands.iter().position(is_failed) else { return };
    let Some(failed) = action.commands.get(at) else { return };
    let is_script = failed.command.command_type() == Some(CommandType::RunScript);
    let ran = duration_of(failed).unwrap_or(0.0);
    let timed_out = is_script && ran >= OF_SCRIPT_TIME * limits.script_time;
    let switch = if timed_out { "script_timeout_status" } else { "failed_status" };
    add_word(switch, &action.status, evidence);
    for skipped in action.commands.iter().skip(at + 1).filter(|it| it.start_time.is_none()) {
        add_word("skipped_status", &skipped.status, evidence);
    }
}

/// Reads how an action ends that no machine picked up.
fn read_expiry(action: &MachineAction, limits: &Limits, evidence: &mut Observations) {
    let never_started = !action.commands.is_empty() && !action.has_started();
    if is_open(action) || is_cancelled(action) || !never_started {
        return;
    }
    let (Some(created), Some(updated)) =
        (action.creation_date_time_utc, action.last_update_date_time_utc)
    else {
        return;
    };
    let waited = updated.to_unix() - created.to_unix();
    if waited >= OF_QUEUE_TIME * limits.queue_time {
        add_word("queue_expiry_status", &action.status, evidence);
        evidence.fact_at_least("longest_queue_seconds", waited.round() as u64);
    }
}

fn add_word(switch: &'static str, word: &str, evidence: &mut Observations) {
    // Of a word that may not be one, nothing follows.
    if service_word(word) == word {
        evidence.add(switch, word);
    }
}

/// Counts the fractional digits of the times.
fn count_digits(action: &MachineAction, evidence: &mut Observations) {
    let Ok(record) = serde_json::from_str::<Value>(&action.raw) else { return };
    for name in TIMES {
        let Some(time) = record.get(name).and_then(Value::as_str) else { continue };
        let fraction = time.split_once('.').map_or("", |(_, fraction)| fraction);
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        evidence.tally("time_digits", digits.to_string());
    }
}
