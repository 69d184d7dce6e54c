//! The manifest of what a run collected: a line of JSON for each file, and in each the hash of the line before it.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::model::Timestamp;
use crate::session::SessionResult;
use crate::transfer::sha256_hex;

const FILE_NAME: &str = "manifest.jsonl";
/// Longer than any line: a path on a machine has 32,767 characters at the most.
const TAIL_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, Serialize)]
struct Line {
    run_id: String,
    machine: Option<String>,
    machine_id: Option<String>,
    action_id: String,
    /// The command's place in the sequence.
    command: u32,
    remote_path: String,
    /// Below the manifest's folder, with `/`.
    path: String,
    size: u64,
    sha256: String,
    received_size: u64,
    received_sha256: String,
    /// When the command ran, by the service.
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
    /// When its file was written down here.
    saved_time: Option<Timestamp>,
    /// SHA-256 of the line before this one; of the first, zeros.
    previous: String,
}

/// Notes the files of one session. `is_resumed`: another process may have noted them before it died.
pub async fn append_session(
    folder: &Path,
    run_id: &str,
    result: &SessionResult,
    is_resumed: bool,
    now: f64,
) -> Result<()> {
    let lines = lines(folder, run_id, result, now);
    if lines.is_empty() {
        return Ok(());
    }
    let path = folder.join(FILE_NAME);
    let writing = tokio::task::spawn_blocking(move || {
        append(&path, lines, is_resumed).map_err(|error| Error::io("write", &path, error))
    });
    writing.await.unwrap_or_else(|_| {
        Err(Error::new(Kind::Download, "the manifest was left unwritten: the process ends"))
    })
}

fn lines(folder: &Path, run_id: &str, result: &SessionResult, now: f64) -> Vec<Line> {
    let action = &result.action;
    let of_command = |command: &crate::session::CommandResult| {
        let file = command.file.as_ref()?;
        let path = Path::new(file.path.as_ref()?);
        let below = path.strip_prefix(folder).unwrap_or(path);
        let parts: Vec<_> = below.iter().map(|part| part.to_string_lossy()).collect();
        Some(Line {
            run_id: run_id.to_owned(),
            machine: action.computer_dns_name.clone(),
            machine_id: action.machine_id.clone(),
            action_id: action.id.clone(),
            command: command.command.index,
            remote_path: file.remote_path.clone(),
            path: parts.join("/"),
            size: file.size,
            sha256: file.sha256.clone(),
            received_size: file.received_size,
            received_sha256: file.received_sha256.clone(),
            start_time: command.command.start_time,
            end_time: command.command.end_time,
            saved_time: Timestamp::from_unix(now),
            previous: String::new(),
        })
    };
    result.commands.iter().filter_map(of_command).collect()
}

/// Several processes may write to one folder: each holds the file's lock while it does.
fn append(path: &Path, mut lines: Vec<Line>, is_resumed: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.lock()?;
    let mut previous = last_line_hash(&mut file)?;
    if is_resumed {
        let known = recorded_commands(&mut file, &lines)?;
        lines.retain(|line| !known.contains(&line.command));
    }
    let mut text = String::new();
    for mut line in lines {
        line.previous = previous;
        let json = serde_json::to_string(&line)?;
        previous = sha256_hex(json.as_bytes());
        text += &json;
        text.push('\n');
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The hash of the last line. One that is not whole, since its writer died over it, is cut off: its session is noted anew.
fn last_line_hash(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let whole = memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1);
    if whole < tail.len() {
        file.set_len(from + whole as u64)?;
    }
    let lines = tail.get(..whole.saturating_sub(1)).unwrap_or_default();
    let last =
        lines.get(memchr::memrchr(b'\n', lines).map_or(0, |at| at + 1)..).unwrap_or_default();
    Ok(if last.is_empty() { "0".repeat(64) } else { sha256_hex(last) })
}

/// The commands of the same action that have their lines.
fn recorded_commands(file: &mut File, lines: &[Line]) -> io::Result<Vec<u32>> {
    #[derive(serde::Deserialize)]
    struct RecordedCommand {
        action_id: String,
        command: u32,
    }
    let Some(action_id) = lines.first().map(|line| line.action_id.as_str()) else {
        return Ok(Vec::new());
    };
    file.rewind()?;
    let mut known = Vec::new();
    for line in BufReader::new(file).lines() {
        let line = line?;
        if line.contains(action_id)
            && let Ok(line) = serde_json::from_str::<RecordedCommand>(&line)
            && line.action_id == action_id
        {
            known.push(line.command);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(action_id: &str, command: u32) -> Line {
        Line {
            run_id: "run".into(),
            machine: Some("ws-1".into()),
            machine_id: None,
            action_id: action_id.into(),
            command,
            remote_path: "C:\\a\n\u{202e}".into(),
            path: format!("ws-1_{action_id}/{command}_a"),
            size: 1,
            sha256: "s".into(),
            received_size: 1,
            received_sha256: "r".into(),
            start_time: None,
            end_time: None,
            saved_time: Timestamp::from_unix(0.0),
            previous: String::new(),
        }
    }

    fn read_entries(path: &Path) -> Vec<(String, u64)> {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'));
        let mut previous = "0".repeat(64);
        let chained = text.lines().map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["previous"], previous.as_str());
            previous = sha256_hex(line.as_bytes());
            (value["action_id"].as_str().unwrap().to_owned(), value["command"].as_u64().unwrap())
        });
        chained.collect()
    }

    #[test]
    fn lines_are_chained_noted_once_and_survive_a_death_at_any_byte() {
        let path = std::env::temp_dir().join(format!("mlr-manifest-{}", uuid::Uuid::new_v4()));
        append(&path, vec![line("a", 0), line("a", 1)], false).unwrap();
        append(&path, vec![line("b", 0)], false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let expected = [("a".to_owned(), 0), ("a".to_owned(), 1), ("b".to_owned(), 0)];
        assert_eq!(read_entries(&path), expected);
        for kept in 0..=whole.len() {
            std::fs::write(&path, &whole[..kept]).unwrap();
            append(&path, vec![line("a", 0), line("a", 1)], true).unwrap();
            append(&path, vec![line("b", 0)], true).unwrap();
            assert_eq!(read_entries(&path), expected, "{kept} bytes");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
