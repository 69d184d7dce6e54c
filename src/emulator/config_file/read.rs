//! Reads a config from a file, a text or a value.

use std::path::Path;

use serde_json::Value;

use crate::emulator::config_file::node::Node;
use crate::emulator::config_file::sections::Place;
use crate::emulator::config_file::{EmulatorConfig, yaml};
use crate::error::{Error, Result};

impl EmulatorConfig {
    /// Reads a file, in YAML or JSON. Its key `file` is relative to its folder.
    ///
    /// # Errors
    ///
    /// Returns an error of kind `Io` if the file cannot be read, and otherwise one that names the
    /// file, the line and the key.
    pub fn from_file(path: &Path) -> Result<Self> {
        let doing = "read the config";
        let size = std::fs::metadata(path).map_err(|error| Error::io(doing, path, error))?.len();
        let name = format!("config {}", path.display());
        if size > yaml::MAX_SIZE as u64 {
            let limit = yaml::MAX_SIZE;
            return Err(Error::invalid(format!("{name} has {size} bytes, more than {limit}")));
        }
        let bytes = std::fs::read(path).map_err(|error| Error::io(doing, path, error))?;
        let Ok(text) = str::from_utf8(&bytes) else {
            return Err(Error::invalid(format!("{name} is not text in UTF-8")));
        };
        Self::from_text(text, &name, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a text. `name` is its name in errors, and `folder` is where its key `file` begins.
    ///
    /// # Errors
    ///
    /// Returns an error that names the line and the key.
    pub fn from_text(text: &str, name: &str, folder: &Path) -> Result<Self> {
        let text = text.trim_start_matches('\u{feff}');
        let node = match yaml::parse(text) {
            Ok(node) => node,
            // A few texts are JSON and no YAML, such as one with tabs before its keys.
            Err(mistake) => match serde_json::from_str::<Value>(text) {
                Ok(value) => Some(Node::from_value(value)),
                Err(_) => {
                    let yaml::Mistake { line, message } = mistake;
                    return Err(Error::invalid(format!("{name}, line {line}: {message}")));
                }
            },
        };
        Self::from_node(node, &Place::new(name), folder)
    }

    /// Reads a value. Its key `file` is relative to the folder of the process.
    ///
    /// # Errors
    ///
    /// Returns an error that names the section and the key.
    pub fn from_value(value: Value) -> Result<Self> {
        Self::from_node(Some(Node::from_value(value)), &Place::new("config"), Path::new(""))
    }
}
