//! The files on the machines' disks, which GetFile collects.

use std::collections::HashMap;

use crate::emulator::session::action::Content;

impl Content {
    /// Returns whether the file is empty. GetFile cannot collect an empty file.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Path(path) => std::fs::metadata(path).is_ok_and(|file| file.len() == 0),
        }
    }
}

/// Files by machine id, or `*` for every machine, and path.
#[derive(Debug, Default)]
pub struct RemoteFiles(HashMap<(String, String), Content>);

impl RemoteFiles {
    /// Adds or replaces a file.
    pub fn put(&mut self, machine: &str, path: &str, content: Content) {
        self.0.insert((machine.to_owned(), normalize_path(path)), content);
    }

    /// Returns the machine, the path and the content of each file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &Content)> {
        self.0.iter().map(|((machine, path), content)| (machine.as_str(), path.as_str(), content))
    }

    /// Returns the machine's file at `path`, or else the one of every machine.
    pub fn find(&self, machine: &str, path: &str) -> Option<Content> {
        let path = normalize_path(path);
        let specific = self.0.get(&(machine.to_owned(), path.clone()));
        specific.or_else(|| self.0.get(&("*".to_owned(), path))).cloned()
    }
}

/// Returns the form of a path that is used as the key.
fn normalize_path(path: &str) -> String {
    // Windows ignores case and accepts both slashes. Other systems do neither.
    let windows = path.contains('\\') || path.get(1..2) == Some(":");
    if windows { path.replace('/', "\\").to_lowercase() } else { path.to_owned() }
}
