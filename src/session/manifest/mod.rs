//! The manifest of the saved results: one JSON line for each file, with the hash of the previous
//! line.

mod chain;

use serde::Serialize;

use super::save_to::{SaveTo, transcript_name};
use super::{CommandResult, SessionResult};
use crate::digest::sha256_hex;
use crate::error::{Error, Kind, Result};
use crate::model::Timestamp;
use crate::transfer::file_name::indexed_name;

const FILE_NAME: &str = "manifest.jsonl";

#[derive(Clone, Debug, Serialize)]
struct ManifestEntry {
    /// None: the session belongs to no run.
    run_id: Option<String>,
    machine: Option<String>,
    machine_id: Option<String>,
    action_id: String,
    /// The index of the command in the session.
    command: u32,
    #[serde(flatten)]
    saved: SavedFile,
    /// When the command ran, according to the service.
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    /// When the file was saved here.
    saved_time: Option<Timestamp>,
    /// SHA-256 of the previous line; zeros in the first line.
    previous: String,
}

/// Appends what was saved of one session. With `may_be_recorded`, skips what the manifest has
/// already: another process may have appended it before it died.
pub async fn append_session(
    save_to: &SaveTo,
    run_id: Option<&str>,
    result: &SessionResult,
    may_be_recorded: bool,
    now: f64,
) -> Result<()> {
    let entries = entries(save_to, run_id, result, now);
    if entries.is_empty() {
        return Ok(());
    }
    let path = save_to.folder.join(FILE_NAME);
    let writing = tokio::task::spawn_blocking(move || {
        chain::append(&path, entries, may_be_recorded)
            .map_err(|error| Error::io("write", &path, error))
    });
    writing.await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Download, "the manifest was not written: the process is exiting"))
    })
}

fn entries(
    save_to: &SaveTo,
    run_id: Option<&str>,
    result: &SessionResult,
    now: f64,
) -> Vec<ManifestEntry> {
    let action = &result.action;
    let to_entry = |command: &CommandResult| {
        let saved = SavedFile::of_file(save_to, command)
            .or_else(|| SavedFile::of_transcript(save_to, result, command))?;
        Some(ManifestEntry {
            run_id: run_id.map(str::to_owned),
            machine: action.computer_dns_name.clone(),
            machine_id: action.machine_id.clone(),
            action_id: action.id.clone(),
            command: command.command.index,
            saved,
            start_time: command.command.start_time,
            end_time: command.command.end_time,
            saved_time: Timestamp::from_unix(now),
            previous: String::new(),
        })
    };
    result.commands.iter().filter_map(to_entry).collect()
}

/// What the manifest says about one file.
#[derive(Clone, Debug, Serialize)]
struct SavedFile {
    /// None: it is the transcript of a script.
    remote_path: Option<String>,
    /// Only of a transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    script_name: Option<String>,
    /// Relative to the manifest's folder, with `/`.
    path: String,
    size: u64,
    sha256: String,
    received_size: u64,
    received_sha256: String,
}

impl SavedFile {
    fn of_file(save_to: &SaveTo, command: &CommandResult) -> Option<Self> {
        let file = command.file.as_ref()?;
        Some(Self {
            remote_path: Some(file.remote_path.clone()),
            script_name: None,
            path: save_to.relative(file.path.as_ref()?.as_ref()),
            size: file.size,
            sha256: file.sha256.clone(),
            received_size: file.received_size,
            received_sha256: file.received_sha256.clone(),
        })
    }

    fn of_transcript(
        save_to: &SaveTo,
        result: &SessionResult,
        command: &CommandResult,
    ) -> Option<Self> {
        let script = command.script.as_ref().filter(|_| save_to.transcripts)?;
        // Without its error it was recognized and saved.
        if command.error.is_some() {
            return None;
        }
        let name = transcript_name(&command.command, script);
        let name = indexed_name(command.command.index as usize, &name);
        let (size, sha256) = (script.raw.len() as u64, sha256_hex(&script.raw));
        Some(Self {
            remote_path: None,
            script_name: command.command.command.param("ScriptName").map(str::to_owned),
            path: save_to.relative(&save_to.action_folder(&result.action).join(name)),
            size,
            sha256: sha256.clone(),
            received_size: size,
            received_sha256: sha256,
        })
    }
}
