//! The live response library (facts.md, section 8).

use std::collections::BTreeMap;

use http::StatusCode;
use sha2::{Digest, Sha256};

use crate::emulator::clock::{Tick, format_time};
use crate::emulator::state::State;
use crate::emulator::wire::reply::{ApiError, Reply};
use crate::emulator::write_json;
use crate::error::Error;

#[derive(Clone, Debug)]
pub struct LibraryFile {
    pub name: String,
    pub sha256: String,
    pub description: String,
    pub created: Tick,
    pub updated: Tick,
    pub created_by: String,
    pub has_parameters: bool,
    pub parameters: Option<String>,
}

/// By lower-case name: two names that differ in case alone are one (facts 8).
#[derive(Debug, Default)]
pub struct Library(BTreeMap<String, LibraryFile>);

impl Library {
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name) || self.0.contains_key(&name.to_ascii_lowercase())
    }

    pub fn get(&self, name: &str) -> Option<&LibraryFile> {
        self.0.get(&name.to_ascii_lowercase())
    }

    /// Puts a file there, over what has its name.
    pub fn insert(&mut self, file: LibraryFile) {
        self.0.insert(file.name.to_ascii_lowercase(), file);
    }

    /// Puts a file of that hash there, over what has its name.
    pub fn put(&mut self, name: &str, sha256: String, now: Tick) {
        self.insert(LibraryFile {
            name: name.to_owned(),
            sha256,
            description: String::new(),
            created: now,
            updated: now,
            created_by: "emulator".to_owned(),
            has_parameters: false,
            parameters: None,
        });
    }
}

impl LibraryFile {
    pub fn write(&self, out: &mut Vec<u8>) {
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

impl State {
    pub fn list_library(&self) -> Reply {
        let mut out = self.open_odata_body("LibraryFiles");
        out.extend_from_slice(b",\"value\":[");
        for (i, file) in self.library.0.values().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.push(b'{');
            file.write(&mut out);
            out.push(b'}');
        }
        out.extend_from_slice(b"]}");
        Reply::entity(StatusCode::OK, out)
    }

    pub fn delete_from_library(&mut self, name: &str) -> Result<Reply, ApiError> {
        match self.library.0.remove(&name.to_ascii_lowercase()) {
            Some(_) => Ok(Reply::empty(StatusCode::NO_CONTENT)),
            None => Err(ApiError::not_found(format!("File {name} was not found"))),
        }
    }
}

/// Whether a file may have that name (facts 8).
pub fn is_valid_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// What is wrong with a file's name.
pub fn check_file_name(name: &str) -> Result<(), Error> {
    if is_valid_file_name(name) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{name:?} is no name of a library file; it has to be of letters, digits, '-', '_' and '.'"
    )))
}

pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
