//! Fetches the results of a session that has ended: transcripts and collected files.

use std::path::Path;

use super::result_blob::{RESULT_RETRY_DELAYS, ResultBlob};
use super::{CommandResult, Session, SessionResult};
use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::model::{ActionCommand, CollectedFile, MachineAction, ScriptOutput};
use crate::transfer::{BlobRange, Target, file_name};
use crate::transport::Response;

/// The longest transcript, in decompressed bytes. Collected files have no such limit.
const MAX_TRANSCRIPT_BYTES: usize = 64 << 20;
/// Retries for the transcript of a failed script. There may never be one, so the wait is shorter.
const FAILED_SCRIPT_RETRIES: usize = 3;
/// Tries to read a transcript whose connection breaks.
const MAX_TRANSCRIPT_ATTEMPTS: usize = 3;

impl Session {
    /// Waits for the end of the session, then fetches every result.
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

    /// Fetches every result until `deadline`.
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

    /// Fetches every result. If one cannot be fetched or saved, its command has the error and the
    /// others are still fetched.
    async fn fetch_results(&self, save_to: Option<&Path>) -> Result<SessionResult> {
        // An entry of a list may lack the commands, which the action itself has.
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

    /// Fetches again each result that failed with a retryable error.
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

    /// Reads the action until it has commands: they may appear later than the final status.
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

    /// Returns the transcript, or None if a failed script has none.
    async fn fetch_transcript(&self, command: &ActionCommand) -> Result<Option<ScriptOutput>> {
        let failed = command.status == "Failed";
        // Whether the service keeps a transcript of a failed script is not documented.
        let max_retries = if failed { FAILED_SCRIPT_RETRIES } else { RESULT_RETRY_DELAYS.len() };
        let mut blob = ResultBlob::new(self, command.index, max_retries);
        let mut attempts = 1;
        let payload = loop {
            let body = match blob.open(&BlobRange::default()).await {
                Err(error) if failed && matches!(error.status, Some(400 | 404)) => return Ok(None),
                other => other?.body,
            };
            // A transcript is text and fits in memory, so it is read whole and not resumed.
            let response =
                Response { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body };
            match response.bytes(MAX_TRANSCRIPT_BYTES).await {
                Ok(payload) => break payload,
                Err(failure)
                    if failure.error.kind == Kind::ConnectionFailed
                        && attempts < MAX_TRANSCRIPT_ATTEMPTS =>
                {
                    attempts += 1
                }
                Err(failure) => return Err(transcript_error(failure.error)),
            }
        };
        let name = command.command.param("ScriptName").unwrap_or_default();
        ScriptOutput::decode(payload, name, MAX_TRANSCRIPT_BYTES).map(Some)
    }

    /// Downloads the file of the GetFile command at `index` to `target`.
    pub async fn download(&self, index: u32, target: Target) -> Result<CollectedFile> {
        let action = match self.action().filter(MachineAction::is_done) {
            Some(action) => action,
            None => self.refresh(0.0).await?,
        };
        let command = action.commands.iter().find(|command| command.index == index);
        let remote_path =
            command.and_then(|command| command.command.param("Path")).ok_or_else(|| {
                let message = format!("command {index} of session {} is not a GetFile", self.id);
                self.annotate(
                    Error::invalid(message)
                        .with_hint("give the index of a GetFile command, counted from 0"),
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
        Error::new(Kind::Download, format!("the transcript was not read to its end: {cause}"))
            .with_hint("the service still has the result: fetch it again");
    error.retryable = cause.kind == Kind::ConnectionFailed;
    error.with_source(cause)
}
