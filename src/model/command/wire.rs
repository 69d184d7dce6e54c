//! Reads commands from JSON: strictly from callers, leniently from the service.

use serde::{Deserialize, Deserializer};

use super::{Attachment, Command, CommandType, Param};
use crate::error::{Error, Result};
use crate::model::lenient::Field;

const COMMAND_FORMAT_HINT: &str =
    r#"the format is {"type": "RunScript", "params": [{"key": "ScriptName", "value": "a.ps1"}]}"#;

impl Command {
    /// Reads a command in the format of the request, with the checks of the constructors.
    pub fn from_wire(wire: &serde_json::Value) -> Result<Self> {
        let command: Self = Self::deserialize_strict(wire).map_err(|error| {
            Error::invalid(format!("not a live response command: {error}"))
                .with_hint(COMMAND_FORMAT_HINT)
        })?;
        let (required, optional) = match command.command_type() {
            Some(CommandType::PutFile) => ("FileName", None),
            Some(CommandType::RunScript) => ("ScriptName", Some("Args")),
            Some(CommandType::GetFile) => ("Path", None),
            None => {
                return Err(Error::invalid(format!(
                    "{:?} is not a live response command",
                    command.name
                ))
                .with_hint(COMMAND_FORMAT_HINT));
            }
        };
        // A repeated key would be ambiguous: the service may use either value.
        let mut keys: Vec<_> = command.params.iter().map(|param| param.key.as_str()).collect();
        keys.retain(|key| Some(*key) != optional);
        if keys != [required] || command.params.len() > 2 {
            return Err(Error::invalid(format!(
                "a {} needs the parameter {required} exactly once",
                command.name
            ))
            .with_hint(COMMAND_FORMAT_HINT));
        }
        let value = command.param(required).unwrap_or_default();
        match command.command_type() {
            Some(CommandType::PutFile) => Self::put_file(value),
            Some(CommandType::RunScript) => Self::run_script(value, command.param("Args")),
            _ => Self::get_file(value),
        }
    }

    fn deserialize_strict(wire: &serde_json::Value) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            r#type: String,
            params: Vec<Param>,
        }
        let Wire { r#type, params } = Wire::deserialize(wire)?;
        Ok(Self { name: r#type, params, content: Attachment::default() })
    }
}

impl Field for Command {}

impl<'de> Deserialize<'de> for Command {
    /// Reads a command as the service describes it: every field may be null.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct NullableParam {
            key: Option<String>,
            value: Option<String>,
        }
        #[derive(Deserialize)]
        struct Wire {
            r#type: Option<String>,
            #[serde(default, deserialize_with = "crate::model::lenient::null_as_empty")]
            params: Vec<NullableParam>,
        }
        let Some(Wire { r#type, params }) = Option::deserialize(deserializer)? else {
            return Ok(Self::default());
        };
        let named = params.into_iter().filter_map(|param| {
            Some(Param { key: param.key?, value: param.value.unwrap_or_default() })
        });
        Ok(Self {
            name: r#type.unwrap_or_else(|| "Unknown".to_owned()),
            params: named.collect(),
            content: Attachment::default(),
        })
    }
}
