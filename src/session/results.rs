//! What a session left: each command's result fetched, and what was not ok told in one word and one sentence.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Session;
use super::fetch::{RESULT_RETRY_DELAYS, ResultSource};
use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::model::{ActionCommand, CollectedFile, CommandType, MachineAction, ScriptOutput};
use crate::transfer::{BlobRange, Target, file_name};
use crate::transport::Response;

/// Bytes of a transcript, unpacked: a script's output is text for people and programs, not evidence.
const MAX_TRANSCRIPT_BYTES: usize = 64 << 20;
/// A failed script may have left no transcript at all: worth a shorter wait.
const FAILED_SCRIPT_RETRIES: usize = 3;
/// A transcript that breaks off is asked for so often.
const MAX_TRANSCRIPT_ATTEMPTS: usize = 3;

/// One command, how it ended and what it brought back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandResult {
    #[serde(flatten)]
    pub command: ActionCommand,
    /// Never started, because a command before it failed.
    pub skipped: bool,
    pub script: Option<ScriptOutput>,
    pub file: Option<CollectedFile>,
    /// The command ran, its result could not be fetched or saved.
    pub error: Option<Error>,
}

/// What a finished session left, a failed one too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionResult {
    pub action: MachineAction,
    pub commands: Vec<CommandResult>,
    /// The first thing that was not ok, in one word; `ok` where all was.
    pub reason: String,
    /// The same for a person.
    pub message: String,
}

impl CommandResult {
    /// The command as the action tells it, with nothing fetched.
    pub fn unfetched(action: &MachineAction) -> Vec<Self> {
        let mut failed_before = false;
        let result = |command: &ActionCommand| {
            let skipped =
                failed_before && command.start_time.is_none() && command.status == "Created";
            failed_before |= command.status == "Failed";
            Self { command: command.clone(), skipped, script: None, file: None, error: None }
        };
        action.commands.iter().map(result).collect()
    }

    fn has_transcript(&self) -> bool {
        let ended = match self.command.status.as_str() {
            "Completed" => true,
            "Failed" => self.command.start_time.is_some(),
            _ => false,
        };
        ended && self.command.command.command_type() == Some(CommandType::RunScript)
    }

    fn has_file(&self) -> bool {
        self.command.status == "Completed"
            && self.command.command.command_type() == Some(CommandType::GetFile)
    }
}

impl Session {
    /// Waits for the end, then fetches every result.
    pub async fn result(
        &self,
        timeout: Option<f64>,
        save_to: Option<&Path>,
    ) -> Result<SessionResult> {
        let clock = self.sessions.pipeline.clock;
        let deadline = timeout.map(|seconds| clock.now() + seconds);
        self.wait(timeout, None, None).await?;
        self.fetch_until(deadline, save_to).await
    }

    /// Fetches what the commands left, no longer than until `deadline`.
    pub(super) async fn fetch_until(
        &self,
        deadline: Option<f64>,
        save_to: Option<&Path>,
    ) -> Result<SessionResult> {
        let fetching = self.fetch_results(save_to);
        let Some(deadline) = deadline else { return fetching.await };
        let left = seconds_to_duration(deadline - self.sessions.pipeline.clock.now());
        match tokio::time::timeout(left, fetching).await {
            Ok(fetched) => fetched,
            Err(_) => Err(self.wait_timeout_error()),
        }
    }

    /// Fetches what the commands left. What can't be fetched or saved is its command's error, never the loss of the rest.
    async fn fetch_results(&self, save_to: Option<&Path>) -> Result<SessionResult> {
        // A list's entry may leave out what the action's own has.
        let action =
            match self.action().filter(|action| action.is_done() && !action.commands.is_empty()) {
                Some(action) => action,
                None => self.read_final_action().await?,
            };
        let mut commands = CommandResult::unfetched(&action);
        for result in &mut commands {
            self.fetch_command_result(&action, result, save_to).await;
        }
        Ok(SessionResult::new(action, commands))
    }

    /// Fetches again what could not be had of `result`, where that may help.
    pub async fn refetch_failed(
        &self,
        result: SessionResult,
        save_to: Option<&Path>,
    ) -> SessionResult {
        let SessionResult { action, mut commands, .. } = result;
        for result in commands
            .iter_mut()
            .filter(|result| result.error.as_ref().is_some_and(|error| error.retryable))
        {
            self.fetch_command_result(&action, result, save_to).await;
        }
        SessionResult::new(action, commands)
    }

    /// The final action. Its commands may fill in later than its status does.
    async fn read_final_action(&self) -> Result<MachineAction> {
        let mut action = self.refresh(0.0).await?;
        for pause in RESULT_RETRY_DELAYS {
            if !action.commands.is_empty() {
                break;
            }
            self.sessions.pipeline.clock.sleep(pause).await;
            action = self.refresh(0.0).await?;
        }
        Ok(action)
    }

    async fn fetch_command_result(
        &self,
        action: &MachineAction,
        result: &mut CommandResult,
        save_to: Option<&Path>,
    ) {
        let fetched = self.try_fetch(action, result, save_to).await;
        result.error = fetched.err().map(|error| self.annotate(error));
    }

    async fn try_fetch(
        &self,
        action: &MachineAction,
        result: &mut CommandResult,
        save_to: Option<&Path>,
    ) -> Result<()> {
        let index = result.command.index;
        if result.has_transcript() {
            result.script = self.fetch_transcript(&result.command).await?;
        } else if let Some(folder) = save_to.filter(|_| result.has_file()) {
            let machine = action
                .computer_dns_name
                .as_deref()
                .or(action.machine_id.as_deref())
                .unwrap_or("machine");
            let folder = folder.join(file_name::folder_name(machine, &action.id));
            let target = Target::Folder { folder, index: index as usize };
            let remote_path = result.command.command.param("Path").unwrap_or_default();
            result.file = Some(self.fetch_file(index, remote_path, target).await?);
        }
        Ok(())
    }

    /// The transcript; none where a failed script left none.
    async fn fetch_transcript(&self, command: &ActionCommand) -> Result<Option<ScriptOutput>> {
        let failed = command.status == "Failed";
        let max_retries = if failed { FAILED_SCRIPT_RETRIES } else { RESULT_RETRY_DELAYS.len() };
        let mut source = ResultSource::new(self, command.index, max_retries);
        let mut tries = 1;
        let payload = loop {
            let body = match source.open(&BlobRange::default()).await {
                Err(error) if failed && matches!(error.status, Some(400 | 404)) => return Ok(None),
                other => other?.body,
            };
            let response =
                Response { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body };
            match response.bytes(MAX_TRANSCRIPT_BYTES).await {
                Ok(payload) => break payload,
                Err(failure)
                    if failure.error.kind == Kind::ConnectionFailed
                        && tries < MAX_TRANSCRIPT_ATTEMPTS =>
                {
                    tries += 1
                }
                Err(failure) => return Err(transcript_error(failure.error)),
            }
        };
        let name = command.command.param("ScriptName").unwrap_or_default();
        ScriptOutput::decode(payload, name, MAX_TRANSCRIPT_BYTES).map(Some)
    }

    /// Brings one collected file to `target`.
    pub async fn download(&self, index: u32, target: Target) -> Result<CollectedFile> {
        let action = match self.action().filter(MachineAction::is_done) {
            Some(action) => action,
            None => self.refresh(0.0).await?,
        };
        let command = action.commands.iter().find(|command| command.index == index);
        let remote_path =
            command.and_then(|command| command.command.param("Path")).ok_or_else(|| {
                let message = format!("command {index} of session {} is no GetFile", self.id);
                self.annotate(
                    Error::invalid(message)
                        .with_hint("give the index of a GetFile within the commands, from 0"),
                )
            })?;
        self.fetch_file(index, remote_path, target).await.map_err(|error| self.annotate(error))
    }

    fn annotate(&self, error: Error) -> Error {
        let mut error = error.with_action(&self.id);
        error.machine_id = error.machine_id.take().or_else(|| self.machine_id.clone());
        error
    }
}

fn transcript_error(cause: Error) -> Error {
    let mut error =
        Error::new(Kind::Download, format!("the transcript could not be read to its end: {cause}"))
            .with_hint("the result stays with the service: ask for it again");
    error.retryable = cause.kind == Kind::ConnectionFailed;
    error.with_source(cause)
}

impl SessionResult {
    pub fn new(action: MachineAction, commands: Vec<CommandResult>) -> Self {
        let (reason, message) = summarize(&action, &commands);
        Self { action, commands, reason: reason.to_owned(), message }
    }

    pub fn is_ok(&self) -> bool {
        self.reason == "ok"
    }

    /// What kept results from being fetched.
    pub fn errors(&self) -> impl Iterator<Item = &Error> {
        self.commands.iter().filter_map(|command| command.error.as_ref())
    }
}

/// The first thing that was not ok.
fn summarize(action: &MachineAction, commands: &[CommandResult]) -> (&'static str, String) {
    let machine = action
        .computer_dns_name
        .as_deref()
        .or(action.machine_id.as_deref())
        .unwrap_or("the machine");
    let failed = commands.iter().find(|result| result.command.status == "Failed");
    match (action.status.as_str(), failed) {
        ("Cancelled", _) => {
            let comment = action.cancellation_comment.as_deref().unwrap_or("no comment");
            return ("cancelled", format!("the session on {machine} was cancelled: {comment}"));
        }
        ("TimeOut", _) if !action.has_started() => {
            return (
                "timed_out",
                format!("{machine} was not reached before the service gave up waiting for it"),
            );
        }
        ("TimeOut", _) => {
            return ("timed_out", format!("{machine} did not run the commands in time"));
        }
        (_, Some(failed)) => {
            let errors = failed.command.errors.join("; ");
            let why = if errors.is_empty() { "the service does not say why" } else { &errors };
            let (index, command) = (failed.command.index, &failed.command.command);
            return ("command", format!("command {index}, {command}, failed on {machine}: {why}"));
        }
        ("Succeeded", None) if commands.is_empty() => {
            return (
                "fetch",
                format!("the service does not tell the commands of the session on {machine}"),
            );
        }
        ("Succeeded", None) => {}
        (status, None) => return ("failed", format!("the session on {machine} ended {status}")),
    }
    if let Some(other) = commands.iter().find(|result| result.command.status != "Completed") {
        let (index, status) = (other.command.index, &other.command.status);
        return (
            "command",
            format!("command {index}, {}, ended {status} on {machine}", other.command.command),
        );
    }
    for result in commands {
        if let Some(error) = &result.error {
            return (
                "fetch",
                format!("the result of command {} could not be had: {error}", result.command.index),
            );
        }
        if let Some((script, code)) =
            result.script.as_ref().and_then(|script| Some((script, script.exit_code?)))
            && code != 0
        {
            return ("script", format!("{} exited with {code} on {machine}", script.script_name));
        }
    }
    ("ok", format!("all {} commands completed on {machine}", commands.len()))
}
