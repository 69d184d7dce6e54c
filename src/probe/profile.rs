//! The profile: what was observed of a tenant's service.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// The format of a saved profile.
const FORMAT: u32 = 1;

/// Observed behaviour of a tenant's service, without names, ids, paths, addresses and texts of the
/// tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    format: u32,
    /// By emulator switch. What was not observed is absent.
    pub observed: Map<String, Value>,
    /// How many observations support each switch.
    pub counts: BTreeMap<String, u64>,
    /// What was observed beside the switches.
    pub facts: Map<String, Value>,
}

impl Profile {
    pub(super) fn new(
        observed: Map<String, Value>,
        counts: BTreeMap<String, u64>,
        facts: Map<String, Value>,
    ) -> Self {
        Self { format: FORMAT, observed, counts, facts }
    }

    /// Writes the profile as JSON. Replaces a file that exists.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.to_json())
            .map_err(|error| Error::io("write the profile", path, error))
    }

    /// Reads a saved profile.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, or is no profile of this format.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).map_err(|error| Error::io("read the profile", path, error))?;
        Self::from_json(&String::from_utf8_lossy(&bytes)).map_err(|mut error| {
            error.message =
                format!("could not read the profile {}: {}", path.display(), error.message);
            error
        })
    }

    /// Returns the JSON of a file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the JSON of a file.
    ///
    /// # Errors
    ///
    /// Fails if the text is not a profile of this format.
    pub fn from_json(text: &str) -> Result<Self> {
        let hint = "give a file that `Profile.save` or the command `probe --save` wrote";
        let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|_| Error::invalid("it is not JSON").with_hint(hint))?;
        match value.get("format").map(Value::as_u64) {
            Some(Some(format)) if format == u64::from(FORMAT) => {}
            Some(Some(format)) => {
                return Err(Error::invalid(format!("its format is {format}, not {FORMAT}"))
                    .with_hint(
                        "use the version of this package that wrote the profile, or a newer \
                                one",
                    ));
            }
            _ => return Err(Error::invalid("it is not a profile").with_hint(hint)),
        }
        serde_json::from_value(value).map_err(|error| {
            Error::invalid(format!("it is not a profile: {error}")).with_hint(hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_saved_profile_is_read_again() {
        let observed = json!({"list_order": "oldest", "context_host": null});
        let observed = observed.as_object().unwrap().clone();
        let counts = BTreeMap::from([("list_order".to_owned(), 3)]);
        let profile = Profile::new(observed, counts, Map::new());
        assert_eq!(Profile::from_json(&profile.to_json()).unwrap(), profile);
        assert_eq!(Profile::from_json(&format!("\u{feff}{}", profile.to_json())).unwrap(), profile);
    }

    #[test]
    fn anything_else_is_refused_with_a_hint() {
        for (text, expected) in [
            ("", "it is not JSON"),
            ("[]", "it is not a profile"),
            ("{}", "it is not a profile"),
            (r#"{"format": "1"}"#, "it is not a profile"),
            (r#"{"format": 2}"#, "its format is 2, not 1"),
            (r#"{"format": 1}"#, "it is not a profile: missing field"),
            (r#"{"format":1,"observed":[],"counts":{},"facts":{}}"#, "it is not a profile"),
            (r#"{"format":1,"observed":{},"counts":{"a":"b"},"facts":{}}"#, "it is not a profile"),
        ] {
            let error = Profile::from_json(text).unwrap_err();
            assert!(error.message.starts_with(expected), "{text}: {error}");
            assert!(error.hint.is_some(), "{text}");
        }
    }
}
