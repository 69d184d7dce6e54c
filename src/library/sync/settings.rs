//! `mde-library.json`: what a folder says of its files.

use std::collections::BTreeMap;
use std::path::Path;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::decode_text;

/// The name of the file. It is never uploaded.
pub const SETTINGS_FILE: &str = "mde-library.json";
/// The most bytes of the file.
pub const MAX_SETTINGS_SIZE: u64 = 1 << 20;
/// The most characters of a collection's name.
const MAX_NAME: usize = 64;

/// Every character except those that need no escape in a mark.
const MARK_COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSettings {
    /// The name of the collection. None: that of the folder.
    pub name: Option<String>,
    /// Files that are not uploaded.
    #[serde(default)]
    pub ignore: Vec<String>,
    #[serde(default)]
    pub files: BTreeMap<String, FileSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// None: what the script says of itself.
    pub description: Option<String>,
    /// None: what the script says of itself. Empty: it takes no parameters.
    pub parameters_description: Option<String>,
}

impl SyncSettings {
    pub fn read(path: &Path, content: &[u8]) -> Result<Self> {
        let invalid = |what: &dyn std::fmt::Display| {
            Error::invalid(format!("{} is not valid: {what}", path.display())).with_hint(
                "it is a JSON object with the keys \"name\", \"ignore\" and \"files\", all \
                 optional; \"files\" maps a file's name to its \"description\" and \
                 \"parameters_description\"",
            )
        };
        let text = decode_text(content);
        // serde also reads a struct from an array.
        if text.trim_start().starts_with('[') {
            return Err(invalid(&"it is an array, not an object"));
        }
        let settings: Self = serde_json::from_str(&text).map_err(|error| invalid(&error))?;
        let count = settings.name.as_deref().map_or(1, |name| name.chars().count());
        if count == 0 || count > MAX_NAME {
            let message = format!(
                "{}: \"name\" has {count} characters, and must have 1 to {MAX_NAME}",
                path.display()
            );
            return Err(Error::invalid(message).with_hint("shorten it, or leave it out"));
        }
        Ok(settings)
    }

    /// Returns what is wrong with the names of files. `in_folder` says whether a file is uploaded,
    /// `has_name` whether the folder has anything of this name.
    pub fn problems(
        &self,
        in_folder: impl Fn(&str) -> bool,
        has_name: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let unknown = self.files.keys().filter(|name| !in_folder(name));
        let unknown = unknown
            .map(|name| format!("{SETTINGS_FILE} names {name:?}, which is no file to upload"));
        let not_there = self.ignore.iter().filter(|name| !has_name(name));
        let no_names = not_there.filter_map(|name| {
            // It would ignore nothing.
            let what = if name.contains(['*', '?', '[']) {
                "pattern"
            } else if name.contains(['/', '\\']) {
                "path"
            } else {
                return None;
            };
            Some(format!("{name:?} under \"ignore\" is a {what}, not the name of a file"))
        });
        unknown.chain(no_names).collect()
    }

    /// Returns the collection of the folder, as it stands in marks.
    pub fn collection(&self, folder: &Path) -> Result<String> {
        if let Some(name) = &self.name {
            return Ok(encode(name));
        }
        // The name as it was given: the target of a link may have a new name for each release.
        let absolute = std::path::absolute(folder).ok();
        let of_path = |path: &Path| path.file_name().map(|it| it.to_string_lossy().into_owned());
        let name = absolute.as_deref().and_then(of_path);
        let name = name.or_else(|| folder.canonicalize().ok().as_deref().and_then(of_path));
        let what = match name.as_deref().map(|name| (name, name.chars().count())) {
            Some((name, 1..=MAX_NAME)) => return Ok(encode(name)),
            Some((_, count)) => format!("a name of {count} characters, more than {MAX_NAME}"),
            None => "no name".to_owned(),
        };
        let message = format!("the folder {} has {what}", folder.display());
        Err(Error::invalid(message).with_hint(format!(
            "give its collection a name: {{\"name\": \"scripts\"}} in {SETTINGS_FILE}"
        )))
    }
}

fn encode(name: &str) -> String {
    utf8_percent_encode(name, MARK_COMPONENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SyncSettings> {
        SyncSettings::read(Path::new("mde-library.json"), text.as_bytes())
    }

    #[test]
    fn valid_settings() {
        let settings = read(
            "\u{feff}{\"name\": \"our scripts\", \"ignore\": [\"README.md\"], \"files\": \
             {\"a.ps1\": {\"description\": \"x\", \"parameters_description\": \"\"}}}",
        )
        .unwrap();
        assert_eq!(settings.collection(Path::new("/x")).unwrap(), "our%20scripts");
        assert_eq!(settings.ignore, ["README.md"]);
        let file = settings.files.get("a.ps1").unwrap();
        assert_eq!(file.description.as_deref(), Some("x"));
        assert_eq!(file.parameters_description.as_deref(), Some(""));
        assert!(read("{}").unwrap().files.is_empty());
    }

    #[test]
    fn invalid_settings_name_the_file_and_the_place() {
        let long = format!("{{\"name\": \"{}\"}}", "x".repeat(65));
        for (text, expected) in [
            ("", "EOF"),
            ("[]", "an array"),
            ("{\"file\": {}}", "unknown field `file`"),
            ("{\"files\": {\"a\": {\"descripton\": \"\"}}}", "unknown field `descripton`"),
            ("{\"name\": \"\"}", "0 characters"),
            (&long, "65 characters"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.message.contains("mde-library.json"), "{error}");
            assert!(error.message.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_collection_of_a_folder_is_its_name() {
        let name = |folder: &str| SyncSettings::default().collection(Path::new(folder));
        let here = std::env::current_dir().unwrap();
        let here = encode(&here.file_name().unwrap().to_string_lossy());
        assert_eq!(name("/srv/our scripts/").unwrap(), "our%20scripts");
        assert_eq!(name("scripts").unwrap(), "scripts");
        assert_eq!(name("./scripts/.").unwrap(), "scripts");
        assert_eq!(name(".").unwrap(), here);
        assert_eq!(name("src/..").unwrap(), here);
        assert_eq!(name("a]:b").unwrap(), "a%5D%3Ab");
        assert!(name("/").unwrap_err().hint.as_deref().unwrap().contains("name"));
    }
}
