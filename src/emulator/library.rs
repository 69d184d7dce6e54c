//! The live response library (facts.md, section 8).

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use super::clock::{Tick, time_text};
use super::multipart;
use super::reply::{Refusal, Reply, status};
use super::state::State;
use super::switches::UnnamedUpload;
use super::write_json;

#[derive(Clone, Debug)]
struct LibraryFile {
    name: String,
    sha256: String,
    description: String,
    created: Tick,
    updated: Tick,
    created_by: String,
    has_parameters: bool,
    parameters: Option<String>,
}

/// By lower-case name: two names that differ in case alone are one (facts 8).
#[derive(Debug, Default)]
pub(super) struct Library(BTreeMap<String, LibraryFile>);

impl Library {
    pub fn holds(&self, name: &str) -> bool {
        self.0.contains_key(name) || self.0.contains_key(&name.to_ascii_lowercase())
    }

    /// Puts a file there, over what has its name.
    pub fn put(&mut self, name: &str, content: &[u8], now: Tick) {
        let file = LibraryFile {
            name: name.to_owned(),
            sha256: sha256(content),
            description: String::new(),
            created: now,
            updated: now,
            created_by: "emulator".to_owned(),
            has_parameters: false,
            parameters: None,
        };
        self.0.insert(name.to_ascii_lowercase(), file);
    }
}

impl LibraryFile {
    fn write(&self, out: &mut Vec<u8>) {
        let fields = [
            ("fileName", self.name.as_str()),
            ("sha256", &self.sha256),
            ("description", &self.description),
            ("creationTime", &time_text(self.created)),
            ("lastUpdatedTime", &time_text(self.updated)),
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
        let mut out = self.context("LibraryFiles");
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

    pub fn upload(&mut self, headers: &HeaderMap, body: &Bytes, by: &str, now: Tick) -> Result<Reply, Refusal> {
        let wrong = |why: &str| Refusal::bad_request("InvalidRequestBody", why);
        let form = multipart::read(headers, body).map_err(|why| wrong(&why))?;
        let part = form
            .part("file")
            .ok_or_else(|| Refusal::bad_request("MissingRequiredParameter", "The form has no part named 'file'."))?;
        if part.file_name.is_none() && self.switches.unnamed_upload == UnnamedUpload::Refused {
            return Err(wrong("The part 'file' has no file name."));
        }
        // A client that gave no name got one called "file" (facts 15, row 24).
        let name = part.file_name.clone().unwrap_or_else(|| "file".to_owned());
        if part.content.len() as u64 > self.limits.upload_size {
            return Err(self.too_big());
        }
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
            return Err(Refusal::bad_request("InvalidInput", format!("The file name '{name}' is not valid.")));
        }
        let flag = |name: &str| form.text(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let old = self.library.0.get(&name.to_ascii_lowercase());
        if old.is_some() && !flag("OverrideIfExists") {
            let message = format!("A file named '{name}' already exists in the library.");
            return Err(Refusal::new(status(self.switches.upload_exists_status), "BadRequest", message));
        }
        let file = LibraryFile {
            sha256: sha256(&part.content),
            description: form.text("Description").unwrap_or_default(),
            created: old.map_or(now, |old| old.created),
            updated: now,
            created_by: by.to_owned(),
            has_parameters: flag("HasParameters"),
            parameters: form.text("ParametersDescription"),
            name: name.clone(),
        };
        let mut out = self.context("LibraryFiles/$entity");
        out.push(b',');
        file.write(&mut out);
        out.push(b'}');
        self.library.0.insert(name.to_ascii_lowercase(), file);
        Ok(Reply::entity(StatusCode::OK, out))
    }

    /// What an upload over the size gets (page "upload-library").
    pub fn too_big(&self) -> Refusal {
        let message = format!("The file is larger than the {} bytes that are allowed.", self.limits.upload_size);
        Refusal::new(status(self.switches.upload_too_big_status), "InvalidRequestBody", message)
    }

    pub fn delete_from_library(&mut self, name: &str) -> Result<Reply, Refusal> {
        match self.library.0.remove(&name.to_ascii_lowercase()) {
            Some(_) => Ok(Reply::empty(StatusCode::NO_CONTENT)),
            None => Err(Refusal::not_found(format!("File {name} was not found"))),
        }
    }
}

pub(super) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
