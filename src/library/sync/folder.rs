//! Reads the folder of a sync: its files with their hashes and texts. Everything that would stop
//! the sync later is found here, before any request.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::script_help::read_help;
use super::settings::{FileSettings, MAX_SETTINGS_SIZE, SETTINGS_FILE, SyncSettings};
use crate::digest::sha256_hex;
use crate::error::{Error, Kind, Result};
use crate::library::mark::{join_mark, sync_mark};
use crate::model::check_library_name;
use crate::transfer::check_size;

/// Problems that one error names.
const MAX_SHOWN: usize = 10;

/// A folder that can be uploaded.
#[derive(Debug)]
pub struct Folder {
    /// The name of its collection, as it stands in marks.
    pub collection: String,
    pub has_settings: bool,
    /// Its files by name.
    pub files: Vec<FolderFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderFile {
    pub name: String,
    path: PathBuf,
    pub sha256: String,
    /// The description with the mark.
    pub description: String,
    pub parameters: Option<String>,
}

/// A regular file of the folder, by the path that it is read from.
struct Entry {
    name: String,
    path: PathBuf,
    length: u64,
}

impl Folder {
    /// Reads the folder. No file may be larger than `limit`. To delete by an empty folder needs
    /// settings.
    pub async fn read(folder: &Path, limit: u64, delete: bool) -> Result<Self> {
        if folder.as_os_str().is_empty() {
            return Err(
                Error::invalid("folder is an empty path").with_hint("give the path of a folder")
            );
        }
        let path = folder.to_owned();
        let (settings, entries) = in_thread(move || list_folder(&path, limit)).await?;
        if delete && entries.is_empty() && settings.is_none() {
            return Err(emptiness_error(folder));
        }
        let has_settings = settings.is_some();
        let settings = settings.unwrap_or_default();
        let collection = settings.collection(folder)?;
        let mut files = Vec::with_capacity(entries.len());
        let mut of_files = settings.files;
        for entry in entries {
            let texts = of_files.remove(&entry.name).unwrap_or_default();
            let collection = collection.clone();
            // One thread for each file: a cancelled sync stops after it.
            files.push(in_thread(move || read_file(entry, texts, &collection, limit)).await?);
        }
        Ok(Self { collection, has_settings, files })
    }
}

impl FolderFile {
    /// Returns the content, which is still that of the plan.
    pub async fn read_again(&self) -> Result<Bytes> {
        let (path, sha256) = (self.path.clone(), self.sha256.clone());
        in_thread(move || {
            let content = read_content(&path, u64::MAX)?;
            if sha256_hex(&content) == sha256 {
                return Ok(content);
            }
            let message = format!("{} changed during the sync", path.display());
            Err(Error::invalid(message).with_hint("sync again when nothing writes to the folder"))
        })
        .await
    }
}

/// Runs file access on a blocking thread.
async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        Err(Error::new(Kind::ConnectionFailed, "the sync was cancelled: the process is exiting"))
    })
}

/// Returns the settings and the files to upload, or one error that names every problem.
fn list_folder(folder: &Path, limit: u64) -> Result<(Option<SyncSettings>, Vec<Entry>)> {
    let failed = |error| Error::io("read the folder", folder, error);
    let inside = folder.canonicalize().map_err(failed)?;
    let mut names = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    let settings = match names.iter().any(|name| name == SETTINGS_FILE) {
        true => Some(read_settings(folder, &inside)?),
        false => None,
    };
    let ignored = settings.as_ref().map(|it| it.ignore.as_slice()).unwrap_or_default();
    let is_skipped =
        |name: &String| name.starts_with('.') || name == SETTINGS_FILE || ignored.contains(name);
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for given in &names {
        // A name that is not Unicode gets a character that the library refuses.
        let name = given.to_string_lossy().into_owned();
        if is_skipped(&name) {
            continue;
        }
        match find_file(folder, &inside, given) {
            Ok(Some((path, length))) => {
                problems.extend(problem_of_file(&name, length, limit));
                entries.push(Entry { name, path, length });
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    problems.extend(namesakes(&entries));
    let in_folder = |name: &str| entries.iter().any(|entry| entry.name == name);
    let has_name = |wanted: &str| names.iter().any(|name| name == wanted);
    let of_settings = settings.as_ref().map(|it| it.problems(in_folder, has_name));
    problems.extend(of_settings.unwrap_or_default());
    if problems.is_empty() { Ok((settings, entries)) } else { Err(refusal(folder, &problems)) }
}

fn problem_of_file(name: &str, length: u64, limit: u64) -> Option<String> {
    if name.eq_ignore_ascii_case(SETTINGS_FILE) {
        return Some(format!("{name:?}: the settings are read from {SETTINGS_FILE:?} only"));
    }
    let checked = check_library_name(name).and(check_size(length, limit, name));
    checked.err().map(|error| error.message.clone())
}

fn emptiness_error(folder: &Path) -> Error {
    let message = format!(
        "the folder {} has no file to upload, so every file of its earlier syncs would be deleted",
        folder.display()
    );
    Error::invalid(message).with_hint(format!(
        "nothing was changed: check the path; if the folder is empty on purpose, put \
         {SETTINGS_FILE} with the content {{}} into it"
    ))
}

fn read_settings(folder: &Path, inside: &Path) -> Result<SyncSettings> {
    let path = folder.join(SETTINGS_FILE);
    match find_file(folder, inside, OsStr::new(SETTINGS_FILE)) {
        Ok(Some((real, length))) => {
            check_size(length, MAX_SETTINGS_SIZE, SETTINGS_FILE)?;
            SyncSettings::read(&path, &read_content(&real, MAX_SETTINGS_SIZE)?)
        }
        Ok(None) => Err(Error::invalid(format!("{} is a folder", path.display()))
            .with_hint("rename it: the settings of the sync are a file of this name")),
        Err(problem) => Err(refusal(folder, &[problem])),
    }
}

/// Returns the path and the size of a file, none for a subfolder, or what is wrong with it.
///
/// A link may lead to a file of the folder, as in a mounted ConfigMap. A link that leads elsewhere
/// could upload any file of this computer.
fn find_file(
    folder: &Path,
    inside: &Path,
    name: &OsStr,
) -> std::result::Result<Option<(PathBuf, u64)>, String> {
    let path = folder.join(name);
    let name = name.to_string_lossy();
    let real = path.canonicalize().map_err(|error| format!("{name:?} cannot be read: {error}"))?;
    let metadata = real.metadata().map_err(|error| format!("{name:?} cannot be read: {error}"))?;
    if metadata.is_dir() {
        return Ok(None);
    }
    if !real.starts_with(inside) {
        return Err(format!("{name:?} is a link to a file outside the folder"));
    }
    if !metadata.is_file() {
        return Err(format!("{name:?} is not a regular file"));
    }
    Ok(Some((real, metadata.len())))
}

/// Names the files whose names differ only in capitals, which the library does not distinguish.
fn namesakes(entries: &[Entry]) -> Vec<String> {
    let mut known: HashMap<String, &str> = HashMap::new();
    let mut found = Vec::new();
    for Entry { name, .. } in entries {
        if let Some(other) = known.insert(name.to_ascii_lowercase(), name) {
            found.push(format!("{other:?} and {name:?} are one name in the library"));
        }
    }
    found
}

fn refusal(folder: &Path, problems: &[String]) -> Error {
    let shown: Vec<_> = problems.iter().take(MAX_SHOWN).map(String::as_str).collect();
    let mut message =
        format!("the folder {} cannot be synced: {}", folder.display(), shown.join("; "));
    if problems.len() > MAX_SHOWN {
        message += &format!("; and {} more problems", problems.len() - MAX_SHOWN);
    }
    Error::invalid(message).with_hint(format!(
        "nothing was changed: correct this, or list files that need no upload under \"ignore\" in \
         {SETTINGS_FILE}"
    ))
}

fn read_file(
    entry: Entry,
    texts: FileSettings,
    collection: &str,
    limit: u64,
) -> Result<FolderFile> {
    let Entry { name, path, length } = entry;
    let content = read_content(&path, limit.max(length))?;
    // It may have grown since it was listed.
    check_size(content.len() as u64, limit, &name)?;
    let help = read_help(&name, &content);
    let sha256 = sha256_hex(&content);
    let text = texts.description.or(help.description).unwrap_or_default();
    let parameters = texts.parameters_description.or(help.parameters);
    Ok(FolderFile {
        description: join_mark(&text, &sync_mark(collection, &sha256)),
        parameters: parameters.filter(|text| !text.trim().is_empty()),
        name,
        path,
        sha256,
    })
}

/// Reads a file, at most one byte more than `limit`.
fn read_content(path: &Path, limit: u64) -> Result<Bytes> {
    let mut content = Vec::new();
    let read: io::Result<usize> = File::open(path)
        .and_then(|file| file.take(limit.saturating_add(1)).read_to_end(&mut content));
    read.map_err(|error| Error::io("read", path, error))?;
    Ok(content.into())
}
