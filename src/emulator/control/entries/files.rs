//! Files as entries: those on the machines' disks and those of the library.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::emulator::Emulator;
use crate::emulator::control::entries::content;
use crate::emulator::control::fields::Fields;
use crate::emulator::inventory::library::{StoredFile, check_file_name, sha256};
use crate::emulator::session::action::Content;
use crate::error::Result;

/// A file for GetFile: the parameters of `put_remote_file`.
#[derive(Clone, Debug)]
pub struct RemoteFileEntry {
    /// An id or a name. `*`, the default, is every machine.
    pub machine: String,
    pub path: String,
    pub content: Content,
}

impl RemoteFileEntry {
    pub fn parse(given: Map<String, Value>, folder: Option<&Path>) -> Result<Self> {
        let known = content::with_content_keys(&["machine", "path"], folder);
        let mut fields = Fields::new("file", given, &known)?;
        let machine = fields.text("machine")?.unwrap_or_else(|| "*".to_owned());
        let path = fields.required_text("path")?;
        let Some(content) = content::take(&mut fields, folder)? else {
            return Err(fields.missing("content or content_base64"));
        };
        Ok(Self { machine, path, content })
    }

    /// Returns the entry of a file.
    pub fn describe(machine: &str, path: &str, content: &Content) -> Value {
        let mut entry = Map::new();
        entry.insert("machine".to_owned(), json!(machine));
        entry.insert("path".to_owned(), json!(path));
        content::put(&mut entry, content);
        Value::Object(entry)
    }
}

/// A library file: the parameters of `add_library_file`, and what an upload adds to them.
#[derive(Clone, Debug)]
pub struct LibraryEntry {
    pub name: String,
    pub sha256: String,
    pub description: String,
    /// What the upload said of the script's parameters.
    pub parameters: Option<String>,
    pub has_parameters: bool,
}

impl LibraryEntry {
    pub fn parse(given: Map<String, Value>, folder: Option<&Path>) -> Result<Self> {
        let own = ["name", "description", "has_parameters", "parameters_description", "sha256"];
        let known = content::with_content_keys(&own, folder);
        let mut fields = Fields::new("library file", given, &known)?;
        let name = fields.required_text("name")?;
        check_file_name(&name)?;
        let hash = fields.text("sha256")?;
        let content = content::take(&mut fields, folder)?;
        let sha256 = match (hash, content) {
            (Some(hash), None) => {
                if hash.len() != 64 || !hash.chars().all(|c| c.is_ascii_hexdigit()) {
                    let expected = "64 hexadecimal digits";
                    return Err(fields.wrong("sha256", &Value::from(hash), expected));
                }
                hash.to_ascii_lowercase()
            }
            (Some(_), Some(_)) => return Err(fields.only_one_of("sha256 and content")),
            (None, Some(content)) => sha256(&content::bytes(content)?),
            (None, None) => sha256(&Bytes::new()),
        };
        let parameters = fields.text("parameters_description")?;
        let has_parameters = fields.flag("has_parameters")?.unwrap_or(parameters.is_some());
        let description = fields.text("description")?.unwrap_or_default();
        Ok(Self { name, sha256, description, parameters, has_parameters })
    }

    /// Returns the entry of a library file. Its content is not known, only its hash.
    pub fn describe(file: &StoredFile) -> Value {
        json!({
            "name": file.name,
            "sha256": file.sha256,
            "description": file.description,
            "has_parameters": file.has_parameters,
            "parameters_description": file.parameters,
        })
    }
}

impl Emulator {
    pub(in crate::emulator::control) fn add_library_entry(&self, file: LibraryEntry) {
        let (mut state, now) = self.lock_now();
        state.library.put(&file.name, file.sha256, now);
        if let Some(stored) = state.library.get_mut(&file.name) {
            stored.description = file.description;
            stored.parameters = file.parameters;
            stored.has_parameters = file.has_parameters;
        }
    }
}
