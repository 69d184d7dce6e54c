//! Files on the machines' disks, for GetFile to collect.

use std::collections::HashMap;

use crate::emulator::session::action::Content;

impl Content {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Path(path) => std::fs::metadata(path).is_ok_and(|file| file.len() == 0),
        }
    }
}

/// By machine id, or `*` for every machine, and path.
#[derive(Debug, Default)]
pub struct RemoteFiles(HashMap<(String, String), Content>);

impl RemoteFiles {
    pub fn put(&mut self, machine: &str, path: &str, content: Content) {
        self.0.insert((machine.to_owned(), normalize_path(path)), content);
    }

    pub fn find(&self, machine: &str, path: &str) -> Option<Content> {
        let path = normalize_path(path);
        let own = self.0.get(&(machine.to_owned(), path.clone()));
        own.or_else(|| self.0.get(&("*".to_owned(), path))).cloned()
    }
}

/// Windows minds neither case nor the slant of a slash.
fn normalize_path(path: &str) -> String {
    let windows = path.contains('\\') || path.get(1..2) == Some(":");
    if windows { path.replace('/', "\\").to_lowercase() } else { path.to_owned() }
}
