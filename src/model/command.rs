//! Live response commands: what is checked here never costs a request.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::quote::quote_args;
use crate::error::{Error, Result};

/// The commands that the service takes, in the order in which it takes them (page "run-live-response").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandType {
    PutFile,
    RunScript,
    GetFile,
}

/// One command in its wire shape. A type this library does not know is kept as data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Command {
    #[serde(rename = "type")]
    name: String,
    params: Vec<Param>,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Param {
    key: String,
    value: String,
}

impl fmt::Debug for Param {
    /// Arguments may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.key == "Args" { "***" } else { &self.value };
        write!(f, "{}: {value:?}", self.key)
    }
}

impl Command {
    /// Puts a library file on the device.
    pub fn put_file(file_name: &str) -> Result<Self> {
        check_library_name(file_name)?;
        Ok(Self::build("PutFile", [("FileName", Some(file_name.to_owned()))]))
    }

    /// Runs a library script, `args` passed to it as they are.
    pub fn run_script(script_name: &str, args: Option<&str>) -> Result<Self> {
        check_library_name(script_name)?;
        if args.is_some_and(|args| args.contains('\0')) {
            return Err(Error::invalid(format!(
                "the arguments of {script_name} hold a NUL character"
            )));
        }
        Ok(Self::build(
            "RunScript",
            [("ScriptName", Some(script_name.to_owned())), ("Args", args.map(str::to_owned))],
        ))
    }

    /// Runs a library script, each of `args` quoted for the shell that the script's name tells.
    pub fn run_script_quoted(script_name: &str, args: &[String]) -> Result<Self> {
        Self::run_script(script_name, Some(&quote_args(script_name, args)))
    }

    /// Collects a file from the device.
    pub fn get_file(path: &str) -> Result<Self> {
        if path.trim().is_empty() || path.contains('\0') {
            return Err(Error::invalid(format!("{path:?} is not a path on a device"))
                .with_hint(r"give the file's full path, as C:\Temp\a.zip"));
        }
        Ok(Self::build("GetFile", [("Path", Some(path.to_owned()))]))
    }

    fn build<const N: usize>(name: &str, params: [(&str, Option<String>); N]) -> Self {
        let given = params
            .into_iter()
            .filter_map(|(key, value)| Some(Param { key: key.to_owned(), value: value? }));
        Self { name: name.to_owned(), params: given.collect() }
    }

    /// Reads the wire shape and holds it to the same rules as the constructors.
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
        let mut keys: Vec<_> = command.params.iter().map(|param| param.key.as_str()).collect();
        keys.retain(|key| Some(*key) != optional);
        if keys != [required] || command.params.len() > 2 {
            return Err(Error::invalid(format!(
                "a {} takes the parameter {required} once",
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
        Ok(Self { name: r#type, params })
    }

    /// The type's word on the wire.
    pub fn type_name(&self) -> &str {
        &self.name
    }

    pub fn command_type(&self) -> Option<CommandType> {
        match self.name.as_str() {
            "PutFile" => Some(CommandType::PutFile),
            "RunScript" => Some(CommandType::RunScript),
            "GetFile" => Some(CommandType::GetFile),
            _ => None,
        }
    }

    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|param| (param.key.as_str(), param.value.as_str()))
    }

    pub fn param(&self, key: &str) -> Option<&str> {
        self.params().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Whether the service may tell `ours` in this way: it need not keep the order of parameters, nor empty ones, and
    /// what it does not describe at all it does not gainsay.
    pub fn matches_submitted(&self, ours: &Self) -> bool {
        if *self == Self::default() {
            return true;
        }
        let normalized_params = |command: &Self| {
            let mut params: Vec<_> =
                command.params.iter().filter(|param| !param.value.is_empty()).cloned().collect();
            params.sort_by(|a, b| a.key.cmp(&b.key));
            params
        };
        self.name.eq_ignore_ascii_case(&ours.name)
            && normalized_params(self) == normalized_params(ours)
    }

    /// The library file that the command needs.
    pub fn library_name(&self) -> Option<&str> {
        self.param("FileName").or_else(|| self.param("ScriptName"))
    }
}

const COMMAND_FORMAT_HINT: &str =
    r#"the shape is {"type": "RunScript", "params": [{"key": "ScriptName", "value": "a.ps1"}]}"#;

impl Default for Command {
    /// What stands for a command that the service did not describe.
    fn default() -> Self {
        Self { name: "Unknown".to_owned(), params: Vec::new() }
    }
}

impl fmt::Display for Command {
    /// The command without its arguments, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.name,
            self.library_name().or_else(|| self.param("Path")).unwrap_or_default()
        )
    }
}

impl<'de> Deserialize<'de> for Command {
    /// As the service describes a command: everything may be null.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct WireParam {
            key: Option<String>,
            value: Option<String>,
        }
        #[derive(Deserialize)]
        struct Wire {
            r#type: Option<String>,
            #[serde(default, deserialize_with = "super::decode::null_as_empty")]
            params: Vec<WireParam>,
        }
        let Some(Wire { r#type, params }) = Option::deserialize(deserializer)? else {
            return Ok(Self::default());
        };
        let named = params.into_iter().filter_map(|param| {
            Some(Param { key: param.key?, value: param.value.unwrap_or_default() })
        });
        Ok(Self { name: r#type.unwrap_or_else(|| "Unknown".to_owned()), params: named.collect() })
    }
}

/// Refuses an empty sequence, and any order but PutFile* RunScript* GetFile* (page "run-live-response").
pub fn check_commands(commands: &[Command]) -> Result<()> {
    if commands.is_empty() {
        return Err(
            Error::invalid("there are no commands to run").with_hint("give at least one Command")
        );
    }
    for command in commands {
        if command.command_type().is_none() {
            return Err(Error::invalid(format!(
                "{:?} is not a live response command",
                command.type_name()
            )));
        }
    }
    for (at, (earlier, later)) in commands.iter().zip(commands.iter().skip(1)).enumerate() {
        if earlier.command_type() > later.command_type() {
            let message = format!("command {}, {later}, comes after {earlier}", at + 1);
            return Err(Error::invalid(message).with_hint(
                "the service takes every PutFile, then every RunScript, then every GetFile",
            ));
        }
    }
    Ok(())
}

/// Refuses a name that the library cannot hold: letters, digits, `-`, `_` and `.` alone (page "live-response").
pub fn check_library_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("the name of a library file is empty"));
    }
    let held = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.chars().all(held) || name.chars().all(|c| c == '.') {
        return Err(Error::invalid(format!("{name:?} cannot be the name of a library file"))
            .with_hint(
                "a library name has letters, digits, '-', '_' and '.' only; it is not a path",
            ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_order_passes() {
        let put = Command::put_file("helper.exe").unwrap();
        let run = Command::run_script("triage.ps1", Some("-Depth 2")).unwrap();
        let get = Command::get_file(r"C:\Temp\triage.zip").unwrap();
        assert!(
            check_commands(&[put.clone(), put.clone(), run.clone(), get.clone(), get.clone()])
                .is_ok()
        );
        assert!(check_commands(&[]).is_err());
        let error = check_commands(&[get, run]).unwrap_err();
        assert!(error.message.contains("command 1, RunScript triage.ps1"), "{error}");
        let script = Command::run_script("triage.ps1", Some("-Depth 2")).unwrap();
        assert!(
            !format!("{} {script:?}", error.message).contains("-Depth"),
            "arguments may be secret"
        );
    }

    #[test]
    fn names_the_library_cannot_hold_are_refused() {
        for name in ["", "a b.ps1", "../x", r"C:\x.ps1", "a/b", "é.ps1", "..", "a\0b"] {
            assert!(
                Command::put_file(name).is_err() && Command::run_script(name, None).is_err(),
                "{name:?}"
            );
        }
        assert!(Command::get_file("").is_err() && Command::get_file(" ").is_err());
    }

    #[test]
    fn the_wire_shape_is_read_back() {
        let run = Command::run_script("a.ps1", Some("x")).unwrap();
        let wire = serde_json::to_value(&run).unwrap();
        assert_eq!(wire["params"][1], serde_json::json!({"key": "Args", "value": "x"}));
        assert_eq!(Command::from_wire(&wire).unwrap(), run);
        for wrong in [
            serde_json::json!({"type": "Runscript", "params": []}),
            serde_json::json!({"type": "RunScript", "params": [{"key": "Args", "value": "x"}]}),
            serde_json::json!({"type": "PutFile", "params": [{"key": "FileName", "value": "a"}, {"key": "FileName", "value": "b"}]}),
            serde_json::json!({"type": "PutFile"}),
            serde_json::json!(null),
        ] {
            assert!(Command::from_wire(&wrong).is_err(), "{wrong}");
        }
    }
}
