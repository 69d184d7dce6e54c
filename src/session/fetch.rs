//! Fetches the results of a session that has ended: transcripts and collected files.

use super::result_blob::RESULT_RETRY_DELAYS;
use super::{CommandResult, SaveTo, Session, SessionResult, manifest};
use crate::clock::seconds_to_duration;
use crate::error::{Error, Result};
use crate::model::{CollectedFile, MachineAction};
use crate::transfer::Target;

impl Session {
    /// Waits for the end of the session, then fetches every result and records what was saved.
    pub async fn result(
        &self,
        timeout: Option<f64>,
        save_to: Option<&SaveTo>,
    ) -> Result<SessionResult> {
        let clock = self.sessions.pipeline.clock;
        let deadline = timeout.map(|seconds| clock.now() + seconds);
        self.wait(timeout, None, None).await?;
        // An earlier call may have saved the same files to the same folder.
        self.fetch_until(deadline, save_to, true).await
    }

    /// Waits for the end of the session, then fetches every result. The caller records what was
    /// saved.
    pub async fn fetch_unrecorded(&self, save_to: Option<&SaveTo>) -> Result<SessionResult> {
        self.wait(None, None, None).await?;
        self.fetch_results(save_to).await
    }

    /// Fetches every result until `deadline`, and records what was saved.
    pub(super) async fn fetch_until(
        &self,
        deadline: Option<f64>,
        save_to: Option<&SaveTo>,
        may_be_recorded: bool,
    ) -> Result<SessionResult> {
        let fetching = async {
            let result = self.fetch_results(save_to).await?;
            Ok(self.record_saved(result, save_to, may_be_recorded).await)
        };
        let Some(deadline) = deadline else { return fetching.await };
        let left = seconds_to_duration(deadline - self.sessions.pipeline.clock.now());
        match tokio::time::timeout(left, fetching).await {
            Ok(fetched) => fetched,
            Err(_) => Err(self.wait_timeout_error()),
        }
    }

    /// Fetches every result. If one cannot be fetched or saved, its command has the error and the
    /// others are still fetched.
    async fn fetch_results(&self, save_to: Option<&SaveTo>) -> Result<SessionResult> {
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
        Ok(self.result_of(action, commands))
    }

    /// Adds what was saved to the manifest. If that fails, each command that has saved something
    /// has the error.
    async fn record_saved(
        &self,
        result: SessionResult,
        save_to: Option<&SaveTo>,
        may_be_recorded: bool,
    ) -> SessionResult {
        let Some(save_to) = save_to else { return result };
        let now = self.sessions.pipeline.clock.now();
        let appending = manifest::append_session(save_to, None, &result, may_be_recorded, now);
        let Err(mut error) = appending.await else { return result };
        error.message = format!("the file is saved, but not in the manifest: {}", error.message);
        let SessionResult { action, mut commands, .. } = result;
        for command in commands.iter_mut().filter(|it| it.error.is_none()) {
            if command.file.is_some() || (save_to.transcripts && command.script.is_some()) {
                command.error = Some(self.annotate(error.clone()));
            }
        }
        self.result_of(action, commands)
    }

    fn result_of(&self, action: MachineAction, commands: Vec<CommandResult>) -> SessionResult {
        SessionResult {
            tenant_id: self.sessions.pipeline.tokens().tenant_id(),
            correlation_id: self.known_correlation_id(),
            ..SessionResult::new(action, commands)
        }
    }

    /// Fetches again each result that could not be fetched, if `is_wanted` for its error.
    pub async fn refetch(
        &self,
        result: SessionResult,
        save_to: Option<&SaveTo>,
        is_wanted: impl Fn(&Error) -> bool,
    ) -> SessionResult {
        let SessionResult { action, mut commands, .. } = result;
        for result in
            commands.iter_mut().filter(|result| result.error.as_ref().is_some_and(&is_wanted))
        {
            self.fetch_command_result(&action, result, save_to).await;
        }
        self.result_of(action, commands)
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
        save_to: Option<&SaveTo>,
    ) {
        let fetched = self.try_fetch(action, result, save_to).await;
        result.error = fetched.err().map(|error| self.annotate(error));
    }

    async fn try_fetch(
        &self,
        action: &MachineAction,
        result: &mut CommandResult,
        save_to: Option<&SaveTo>,
    ) -> Result<()> {
        let index = result.command.index;
        if result.has_transcript() {
            if let Some(transcript) = self.fetch_transcript(&result.command).await? {
                // What is no transcript is kept to be read, but it is an error.
                result.script = Some(transcript.output);
                return match (transcript.objection, save_to) {
                    (Some(objection), _) => Err(objection),
                    (None, Some(save_to)) => save_to.save_transcript(action, result).await,
                    (None, None) => Ok(()),
                };
            }
            result.script = None;
        } else if let Some(save_to) = save_to.filter(|_| result.has_file()) {
            let target = save_to.target(action, index);
            let remote_path = result.command.command.param("Path").unwrap_or_default();
            result.file = Some(self.fetch_file(index, remote_path, target).await?);
        }
        Ok(())
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
        self.in_context(error)
    }
}
