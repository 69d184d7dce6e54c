//! Where the results of a session are saved.

use std::path::{Path, PathBuf};

use super::CommandResult;
use crate::error::{Error, Result};
use crate::model::{ActionCommand, MachineAction, ScriptOutput};
use crate::transfer::{Target, file_name, save_bytes};

/// A folder for collected files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SaveTo {
    pub folder: PathBuf,
    /// Save the transcripts of scripts too.
    pub transcripts: bool,
}

impl From<PathBuf> for SaveTo {
    fn from(folder: PathBuf) -> Self {
        Self { folder, transcripts: false }
    }
}

impl SaveTo {
    /// Makes the folder. Called before a session starts, because its results could not be saved in
    /// a folder that cannot be made.
    pub async fn make_folder(&self) -> Result<()> {
        let failed = |error| Error::io("use the folder", &self.folder, error);
        match tokio::fs::read_dir(&self.folder).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => Err(failed(error)),
            _ => tokio::fs::create_dir_all(&self.folder).await.map_err(failed),
        }
    }

    /// Returns the folder of one action.
    pub fn action_folder(&self, action: &MachineAction) -> PathBuf {
        let machine = action.computer_dns_name.as_deref().or(action.machine_id.as_deref());
        self.folder.join(file_name::folder_name(machine.unwrap_or("machine"), &action.id))
    }

    /// Returns a path in the folder as the manifest has it.
    pub fn relative(&self, path: &Path) -> String {
        let relative = path.strip_prefix(&self.folder).unwrap_or(path);
        let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
        parts.join("/")
    }

    /// Returns the target of the result of a command.
    pub fn target(&self, action: &MachineAction, index: u32) -> Target {
        Target::Folder { folder: self.action_folder(action), index: index as usize }
    }

    /// Saves a transcript as it was received, if that is wanted.
    pub async fn save_transcript(
        &self,
        action: &MachineAction,
        result: &CommandResult,
    ) -> Result<()> {
        let Some(script) = result.script.as_ref().filter(|_| self.transcripts) else {
            return Ok(());
        };
        let name = transcript_name(&result.command, script);
        save_bytes(self.target(action, result.command.index), &name, &script.raw).await
    }
}

/// Returns the name of a saved transcript, without the index of its command.
pub fn transcript_name(command: &ActionCommand, script: &ScriptOutput) -> String {
    // The machine chooses the other name, `script.script_name`.
    let name = command.command.param("ScriptName").unwrap_or_default();
    let extension = match &script.raw[..] {
        [b'P', b'K', ..] => "zip",
        [0x1f, 0x8b, ..] => "gz",
        text if text.trim_ascii_start().starts_with(b"{") => "json",
        _ => "txt",
    };
    format!("{}.transcript.{extension}", file_name::sanitize(name))
}
