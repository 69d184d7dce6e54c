//! Appends lines to a manifest. Each has the hash of the previous line.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::ManifestEntry;
use crate::digest::sha256_hex;

/// Bytes at the end of the file that always contain the last line: Windows limits a path to
/// 32,767 characters.
const TAIL_BYTES: u64 = 1 << 20;

/// Appends the entries durably. With `may_be_recorded`, skips those that the manifest has already.
pub(super) fn append(
    path: &Path,
    mut entries: Vec<ManifestEntry>,
    may_be_recorded: bool,
) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = open_without_links(&options, path)?;
    // Several processes may write to one folder, and each line needs the hash of the last.
    file.lock()?;
    let mut previous = last_line_hash(&mut file)?;
    if may_be_recorded {
        let known = recorded_commands(&mut file, &entries)?;
        entries.retain(|entry| !known.contains(&entry.command));
    }
    let mut text = String::new();
    for mut entry in entries {
        entry.previous = previous;
        let json = serde_json::to_string(&entry)?;
        previous = sha256_hex(json.as_bytes());
        text += &json;
        text.push('\n');
    }
    file.seek(SeekFrom::End(0))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Opens the manifest itself, and never what a link with its name leads to: a link could make this
/// process write into another file.
fn open_without_links(options: &OpenOptions, path: &Path) -> io::Result<File> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(refused("it is a link, a folder or a device, and not a file: move it away"));
    }
    let file = refuse_links(options).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(refused("it is not a plain file: move it away"));
    }
    Ok(file)
}

#[cfg(unix)]
fn refuse_links(options: &OpenOptions) -> OpenOptions {
    use rustix::fs::OFlags;
    let mut options = options.clone();
    // A pipe must not block the row either.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits() as i32);
    options
}

/// The system has no such flag. What the path names was looked at just before.
#[cfg(not(unix))]
fn refuse_links(options: &OpenOptions) -> OpenOptions {
    options.clone()
}

/// Returns the hash of the last line. A last line that is not complete is cut off.
fn last_line_hash(file: &mut File) -> io::Result<String> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    // The process that wrote an incomplete line died before the row had its outcome: the worker
    // that resumes the row appends the session again.
    let whole = memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1);
    if whole < tail.len() {
        file.set_len(from + whole as u64)?;
    }
    let lines = tail.get(..whole.saturating_sub(1)).unwrap_or_default();
    let last =
        lines.get(memchr::memrchr(b'\n', lines).map_or(0, |at| at + 1)..).unwrap_or_default();
    Ok(if last.is_empty() { "0".repeat(64) } else { sha256_hex(last) })
}

/// Returns the commands of the same action that the manifest has already.
fn recorded_commands(file: &mut File, entries: &[ManifestEntry]) -> io::Result<Vec<u32>> {
    #[derive(serde::Deserialize)]
    struct RecordedCommand {
        action_id: String,
        command: u32,
    }
    let Some(action_id) = entries.first().map(|entry| entry.action_id.as_str()) else {
        return Ok(Vec::new());
    };
    file.rewind()?;
    let mut known = Vec::new();
    let search = memchr::memmem::Finder::new(action_id);
    for line in BufReader::new(file).split(b'\n') {
        let line = line?;
        // The search is much faster than parsing every line.
        if search.find(&line).is_some()
            && let Ok(recorded) = serde_json::from_slice::<RecordedCommand>(&line)
            && recorded.action_id == action_id
        {
            known.push(recorded.command);
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::super::SavedFile;
    use super::*;
    use crate::model::Timestamp;

    fn entry(action_id: &str, command: u32) -> ManifestEntry {
        ManifestEntry {
            run_id: Some("run".into()),
            machine: Some("ws-1".into()),
            machine_id: None,
            action_id: action_id.into(),
            command,
            saved: SavedFile {
                remote_path: Some("C:\\a\n\u{202e}".into()),
                script_name: None,
                path: format!("ws-1_{action_id}/{command}_a"),
                size: 1,
                sha256: "s".into(),
                received_size: 1,
                received_sha256: "r".into(),
            },
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
    #[cfg(unix)]
    fn a_link_in_place_of_the_manifest_is_refused() {
        let folder = std::env::temp_dir().join(format!("mlr-manifest-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let (path, victim) = (folder.join("manifest.jsonl"), folder.join("victim"));
        let missing = folder.join("missing");
        std::fs::write(&victim, b"precious").unwrap();
        for target in [&victim, &missing, &folder] {
            std::os::unix::fs::symlink(target, &path).unwrap();
            assert!(append(&path, vec![entry("a", 0)], false).is_err(), "{target:?}");
            let options = OpenOptions::new().read(true).write(true).create(true).clone();
            assert!(open_without_links(&options, &path).is_err());
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(
            (std::fs::read(&victim).unwrap(), missing.exists()),
            (b"precious".to_vec(), false)
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn lines_that_are_no_text_are_passed_over() {
        let path = std::env::temp_dir().join(format!("mlr-manifest-{}", uuid::Uuid::new_v4()));
        std::fs::write(&path, b"\xff\xfe a\n{\"action_id\": 5} a\n").unwrap();
        append(&path, vec![entry("a", 0)], true).unwrap();
        append(&path, vec![entry("a", 0), entry("a", 1)], true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap().iter().filter(|b| **b == b'\n').count(), 4);
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn lines_are_chained_unique_and_survive_a_crash_at_any_byte() {
        let path = std::env::temp_dir().join(format!("mlr-manifest-{}", uuid::Uuid::new_v4()));
        append(&path, vec![entry("a", 0), entry("a", 1)], false).unwrap();
        append(&path, vec![entry("b", 0)], false).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let expected = [("a".to_owned(), 0), ("a".to_owned(), 1), ("b".to_owned(), 0)];
        assert_eq!(read_entries(&path), expected);
        for kept in 0..=whole.len() {
            std::fs::write(&path, &whole[..kept]).unwrap();
            append(&path, vec![entry("a", 0), entry("a", 1)], true).unwrap();
            append(&path, vec![entry("b", 0)], true).unwrap();
            assert_eq!(read_entries(&path), expected, "{kept} bytes");
        }
        std::fs::remove_file(&path).unwrap();
    }
}
