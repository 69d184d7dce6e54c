//! The results of a session: what each command returned, and one reason if anything failed.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::{
    ActionCommand, ArgumentRedactor, CollectedFile, CommandType, MachineAction, ScriptOutput,
    is_powershell,
};
use crate::text::{printable, sanitize};

const UPLOAD_HINT: &str = "; if the device could not upload its result, allow \
    *.blob.core.windows.net in the firewall or proxy of its network";

/// The exit code with which the Windows agent ends if the script's hash differs (docs/service.md,
/// section 19).
const HASH_MISMATCH: i64 = 323;

/// One command: how it ended, and its output or file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandResult {
    #[serde(flatten)]
    pub command: ActionCommand,
    /// The command never started, because one before it failed.
    pub skipped: bool,
    pub script: Option<ScriptOutput>,
    pub file: Option<CollectedFile>,
    /// Why the command's result could not be fetched or saved, although the command ran.
    pub error: Option<Error>,
}

/// The results of a session that has ended, successfully or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionResult {
    pub action: MachineAction,
    pub commands: Vec<CommandResult>,
    /// The first failure in one word, or `ok`.
    pub reason: String,
    /// The first failure in a sentence.
    pub message: String,
    #[serde(default)]
    pub tenant_id: Option<String>,
    #[serde(default)]
    pub correlation_id: Option<String>,
}

impl CommandResult {
    /// Returns the commands of the action, without their output and files.
    pub fn unfetched(action: &MachineAction) -> Vec<Self> {
        let result = |(command, skipped): (&ActionCommand, bool)| {
            let command = command.clone();
            Self { command, skipped, script: None, file: None, error: None }
        };
        Self::skipped(action).map(result).collect()
    }

    /// Returns the commands of the action, and whether each was skipped.
    pub fn skipped(action: &MachineAction) -> impl Iterator<Item = (&ActionCommand, bool)> {
        let mut failed_before = false;
        action.commands.iter().map(move |command| {
            let skipped =
                failed_before && command.start_time.is_none() && command.status == "Created";
            failed_before |= command.status == "Failed";
            (command, skipped)
        })
    }

    /// Returns whether the service should have a transcript of the command.
    pub(super) fn has_transcript(&self) -> bool {
        let ended = match self.command.status.as_str() {
            "Completed" => true,
            "Failed" => self.command.start_time.is_some(),
            _ => false,
        };
        ended && self.command.command.command_type() == Some(CommandType::RunScript)
    }

    /// Returns whether the service should have a file of the command.
    pub(super) fn has_file(&self) -> bool {
        self.command.status == "Completed"
            && self.command.command.command_type() == Some(CommandType::GetFile)
    }
}

impl SessionResult {
    pub fn new(action: MachineAction, commands: Vec<CommandResult>) -> Self {
        let (reason, message) = summarize(&action, &commands);
        let message = printable(&message).into_owned();
        let reason = reason.to_owned();
        Self { action, commands, reason, message, tenant_id: None, correlation_id: None }
    }

    pub fn is_ok(&self) -> bool {
        self.reason == "ok"
    }

    /// Returns the errors of results that could not be fetched or saved.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.commands.iter().filter_map(|command| command.error.as_ref())
    }
}

/// Returns the first failure as a word and a sentence, or `ok`.
fn summarize(action: &MachineAction, commands: &[CommandResult]) -> (&'static str, String) {
    let machine = action
        .computer_dns_name
        .as_deref()
        .or(action.machine_id.as_deref())
        .unwrap_or("the machine");
    failed_script(commands, machine)
        .or_else(|| failed_action(action, commands, machine))
        .or_else(|| incomplete_command(commands, machine))
        .or_else(|| missing_result(commands))
        .unwrap_or_else(|| {
            let what = match commands.len() {
                1 => "the command".to_owned(),
                number => format!("all {number} commands"),
            };
            ("ok", format!("{what} completed on {machine}"))
        })
}

/// Returns the first script that ended with an exit code other than 0, if everything before it
/// succeeded.
fn failed_script(commands: &[CommandResult], machine: &str) -> Option<(&'static str, String)> {
    let completed = commands.iter().take_while(|result| result.command.status == "Completed");
    let mut scripts = completed.filter_map(|result| Some((result, result.script.as_ref()?)));
    let (result, script) = scripts.find(|(result, script)| {
        result.error.is_none() && script.exit_code.is_some_and(|code| code != 0)
    })?;
    let (name, code) = (&script.script_name, script.exit_code.unwrap_or_default());
    if code == HASH_MISMATCH && is_powershell(name) {
        return Some(("command", hash_mismatch_message(name, machine)));
    }
    let mut message = format!("{name} exited with {code} on {machine}");
    let failed = commands.iter().find(|later| later.command.status == "Failed");
    if let Some(failed) = failed.filter(|failed| failed.command.index > result.command.index) {
        let (index, command) = (failed.command.index, &failed.command.command);
        message += &format!("; command {index}, {command}, failed after it");
    }
    Some(("script", message))
}

fn hash_mismatch_message(name: &str, machine: &str) -> String {
    format!(
        "the agent on {machine} did not run {name}: exit code {HASH_MISMATCH} is the agent's own, \
         for a script whose hash differs from the library's. The file was replaced in the library \
         since the submit, or changed on its way: check its SHA-256 with library.list_files() and \
         submit again with a new correlation id"
    )
}

fn failed_action(
    action: &MachineAction,
    commands: &[CommandResult],
    machine: &str,
) -> Option<(&'static str, String)> {
    let failed = commands.iter().find(|result| result.command.status == "Failed");
    let code = action.error_name().map_or_else(String::new, |name| format!(" [{name}]"));
    // The status comes first: a cancelled or timed-out session may have a failed command too.
    Some(match (action.status.as_str(), failed) {
        ("Cancelled", _) => {
            let comment = action.cancellation_comment.as_deref().unwrap_or("no comment");
            ("cancelled", format!("the session on {machine} was cancelled: {comment}{code}"))
        }
        ("TimeOut", _) if !action.has_started() => {
            let message = format!("the service could not reach {machine} in time and gave up");
            ("timed_out", message + &code)
        }
        ("TimeOut", _) => {
            ("timed_out", format!("{machine} did not run the commands in time{code}"))
        }
        (_, Some(failed)) => {
            // The service may repeat the arguments, which may be secret.
            let arguments = ArgumentRedactor::new(std::slice::from_ref(&failed.command.command));
            let errors = arguments.redact(&sanitize(&failed.command.errors.join("; "), 1000));
            let why = if errors.is_empty() { "the service gives no reason" } else { &errors };
            let hint = if is_upload_failure(&errors) { UPLOAD_HINT } else { "" };
            let (index, command) = (failed.command.index, &failed.command.command);
            (
                "command",
                format!("command {index}, {command}, failed on {machine}: {why}{code}{hint}"),
            )
        }
        ("Succeeded", None) if commands.is_empty() => {
            ("fetch", format!("the service lists no commands for the session on {machine}"))
        }
        ("Succeeded", None) => return None,
        (status, None) => ("failed", format!("the session on {machine} ended as {status}{code}")),
    })
}

fn incomplete_command(commands: &[CommandResult], machine: &str) -> Option<(&'static str, String)> {
    let result = commands.iter().find(|result| result.command.status != "Completed")?;
    let (index, status) = (result.command.index, &result.command.status);
    let command = &result.command.command;
    Some(("command", format!("command {index}, {command}, ended as {status} on {machine}")))
}

fn missing_result(commands: &[CommandResult]) -> Option<(&'static str, String)> {
    let (result, error) =
        commands.iter().find_map(|result| Some((result, result.error.as_ref()?)))?;
    let index = result.command.index;
    Some(("fetch", format!("the result of command {index} could not be fetched: {error}")))
}

/// Returns whether the errors of a command say that the device could not upload its result.
fn is_upload_failure(errors: &str) -> bool {
    let errors = errors.to_ascii_lowercase();
    ["upload", "blob", "storage account"].iter().any(|word| errors.contains(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message_of(status: &str, hresult: i64, errors: &[&str]) -> String {
        let command = json!({
            "index": 0, "startTime": "2026-03-10T14:36:51Z", "endTime": null,
            "commandStatus": "Failed", "errors": errors,
            "command": {"type": "GetFile", "params": [{"key": "Path", "value": "C:\\a"}]},
        });
        let commands = if status == "Failed" { vec![] } else { vec![command] };
        let action = json!({
            "id": "a", "type": "LiveResponse", "status": status, "computerDnsName": "ws-1",
            "errorHResult": hresult, "commands": commands,
        });
        let action: MachineAction = serde_json::from_str(&action.to_string()).unwrap();
        let commands = CommandResult::unfetched(&action);
        SessionResult::new(action, commands).message
    }

    #[test]
    fn a_message_has_the_hresult_by_name() {
        let denied = -2_147_024_891;
        for (status, errors, hresult, expected) in [
            ("Failed", &[][..], 0, "the session on ws-1 ended as Failed"),
            ("Failed", &[], denied, "ended as Failed [E_ACCESSDENIED (0x80070005)]"),
            ("Failed", &[], -1, "ended as Failed [0xFFFFFFFF]"),
            ("TimeOut", &[], denied, "in time [E_ACCESSDENIED (0x80070005)]"),
            ("Cancelled", &[], denied, "no comment [E_ACCESSDENIED (0x80070005)]"),
            ("Other", &["no"], denied, "failed on ws-1: no [E_ACCESSDENIED (0x80070005)]"),
            ("Other", &["upload"], denied, ": upload [E_ACCESSDENIED (0x80070005)]; if the device"),
        ] {
            let message = message_of(status, hresult, errors);
            assert!(message.contains(expected), "{message}");
            assert_eq!(message.contains('['), hresult != 0, "{message}");
        }
    }
}
