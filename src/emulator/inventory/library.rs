//! The files of the live response library (docs/service.md, section 8).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::emulator::clock::{Tick, format_time};
use crate::emulator::control::raw_properties::{EntityKind, RawProperties};
use crate::emulator::write_json;
use crate::error::Error;

/// A file of the library. Only its hash is kept: no call of the API reads the content.
#[derive(Clone, Debug)]
pub struct StoredFile {
    pub name: String,
    pub sha256: String,
    /// How many bytes it has. 0 if only its hash was given.
    pub length: u64,
    pub description: String,
    pub created: Tick,
    pub updated: Tick,
    pub created_by: String,
    pub has_parameters: bool,
    pub parameters: Option<String>,
}

/// All files, by name in lower case: names are not case-sensitive (docs/service.md, section 8).
#[derive(Debug, Default)]
pub struct LibraryStore(BTreeMap<String, StoredFile>);

impl LibraryStore {
    pub fn contains(&self, name: &str) -> bool {
        // Most names are in lower case already, so try without an allocation first.
        self.0.contains_key(name) || self.0.contains_key(&name.to_ascii_lowercase())
    }

    pub fn get(&self, name: &str) -> Option<&StoredFile> {
        self.0.get(&name.to_ascii_lowercase())
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut StoredFile> {
        self.0.get_mut(&name.to_ascii_lowercase())
    }

    /// Adds a file or replaces the one with its name.
    pub fn insert(&mut self, file: StoredFile) {
        self.0.insert(file.name.to_ascii_lowercase(), file);
    }

    /// Adds or replaces a file without an upload.
    pub fn put(&mut self, name: &str, sha256: String, now: Tick) {
        self.insert(StoredFile {
            name: name.to_owned(),
            sha256,
            length: 0,
            description: String::new(),
            created: now,
            updated: now,
            created_by: "emulator".to_owned(),
            has_parameters: false,
            parameters: None,
        });
    }

    /// Returns whether there was such a file.
    pub fn remove(&mut self, name: &str) -> bool {
        self.0.remove(&name.to_ascii_lowercase()).is_some()
    }

    /// Returns all files by name.
    pub fn files(&self) -> impl Iterator<Item = &StoredFile> {
        self.0.values()
    }
}

impl StoredFile {
    /// Writes the entity without braces and `@odata.context`.
    pub fn write(&self, out: &mut Vec<u8>, raw: &RawProperties) {
        let start = out.len();
        self.write_properties(out);
        raw.apply(EntityKind::LibraryFile, &self.name, out, start);
    }

    fn write_properties(&self, out: &mut Vec<u8>) {
        let fields = [
            ("fileName", self.name.as_str()),
            ("sha256", &self.sha256),
            ("description", &self.description),
            ("creationTime", &format_time(self.created)),
            ("lastUpdatedTime", &format_time(self.updated)),
            ("createdBy", &self.created_by),
        ];
        for (name, value) in fields {
            write_json(out, name);
            out.push(b':');
            write_json(out, value);
            out.push(b',');
        }
        out.extend_from_slice(b"\"hasParameters\":");
        write_json(out, &self.has_parameters);
        if let Some(parameters) = &self.parameters {
            out.extend_from_slice(b",\"parametersDescription\":");
            write_json(out, parameters);
        }
    }
}

/// Returns whether a file may have this name (docs/service.md, section 8).
pub fn is_valid_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// Returns an error if a library file cannot have this name.
pub fn check_file_name(name: &str) -> Result<(), Error> {
    if is_valid_file_name(name) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} is not a valid name of a library file; use letters, digits, '-', '_' and '.'"
    )))
}

/// Returns the SHA-256 in lower-case hex, as the library lists it.
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
