//! Live response commands. They are checked when they are created, before any request.

mod local;
mod wire;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::library_file::check_library_name;
use crate::error::{Error, Result};
use crate::text::RAW_STRING_HINT;

use local::Attachment;
pub use local::{LocalContent, Shell, is_local_name, split_suffix};

/// The types of commands, in the order that the service requires (page "run-live-response").
// `check_commands` compares the variants, so their order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandType {
    PutFile,
    RunScript,
    GetFile,
}

/// One command, as it is sent. An unknown type is kept as data.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Command {
    #[serde(rename = "type")]
    name: String,
    params: Vec<Param>,
    #[serde(skip)]
    content: Attachment,
}

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Param {
    key: String,
    value: String,
}

impl fmt::Debug for Param {
    /// Masks the arguments, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if self.key == "Args" { "***" } else { &self.value };
        write!(f, "{}: {value:?}", self.key)
    }
}

impl Command {
    /// Creates a command that copies a library file to the machine.
    pub fn put_file(file_name: &str) -> Result<Self> {
        check_library_name(file_name)?;
        Ok(Self::build("PutFile", [("FileName", Some(file_name.to_owned()))]))
    }

    /// Creates a command that runs a library script. `args` are passed unchanged.
    pub fn run_script(script_name: &str, args: Option<&str>) -> Result<Self> {
        check_library_name(script_name)?;
        if args.is_some_and(|args| args.contains('\0')) {
            return Err(Error::invalid(format!(
                "the arguments of {script_name} have a NUL character"
            )));
        }
        Ok(Self::build(
            "RunScript",
            [("ScriptName", Some(script_name.to_owned())), ("Args", args.map(str::to_owned))],
        ))
    }

    /// Creates a command that collects a file from the machine.
    pub fn get_file(path: &str) -> Result<Self> {
        if path.contains(char::is_control) {
            return Err(Error::invalid(format!("path is {path:?}, which has a control character"))
                .with_hint(RAW_STRING_HINT));
        }
        if path.trim().is_empty() {
            return Err(Error::invalid(format!(
                "path is {path:?}, which is not the path of a file"
            ))
            .with_hint(r"give the full path of the file, as C:\Temp\a.zip"));
        }
        Ok(Self::build("GetFile", [("Path", Some(path.to_owned()))]))
    }

    fn build<const N: usize>(name: &str, params: [(&str, Option<String>); N]) -> Self {
        let given = params
            .into_iter()
            .filter_map(|(key, value)| Some(Param { key: key.to_owned(), value: value? }));
        Self { name: name.to_owned(), params: given.collect(), content: Attachment::default() }
    }

    /// Creates a command that uploads the content and copies it to the machine.
    pub fn put_local(content: LocalContent) -> Result<Self> {
        Ok(Self::put_file(&content.library_name)?.with_content(content))
    }

    /// Creates a command that uploads the content and runs it. `args` are passed unchanged.
    pub fn run_local(content: LocalContent, args: Option<&str>) -> Result<Self> {
        Ok(Self::run_script(&content.library_name, args)?.with_content(content))
    }

    /// Returns the command with the content of its library file.
    pub fn with_content(mut self, content: LocalContent) -> Self {
        self.content = Attachment(Some(Arc::new(content)));
        self
    }

    /// Returns the command as it is stored and sent: its content is in the library by then.
    pub fn without_content(&self) -> Self {
        Self { content: Attachment::default(), ..self.clone() }
    }

    /// Returns the content that the library may not have yet.
    pub fn content(&self) -> Option<&Arc<LocalContent>> {
        self.content.0.as_ref()
    }

    /// Returns the name of the type, as it is sent.
    pub fn type_name(&self) -> &str {
        &self.name
    }

    /// Returns the type, or `None` if it is unknown.
    pub fn command_type(&self) -> Option<CommandType> {
        match self.name.as_str() {
            "PutFile" => Some(CommandType::PutFile),
            "RunScript" => Some(CommandType::RunScript),
            "GetFile" => Some(CommandType::GetFile),
            _ => None,
        }
    }

    /// Returns the parameters as pairs of key and value.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|param| (param.key.as_str(), param.value.as_str()))
    }

    /// Returns the value of the parameter `key`.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Returns whether `self`, as the service describes it, may be the submitted command `ours`.
    pub fn matches_submitted(&self, ours: &Self) -> bool {
        // The service may reorder parameters, drop empty ones, or not describe the command at all.
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

    /// Returns the library file that the command needs.
    pub fn library_name(&self) -> Option<&str> {
        self.param("FileName").or_else(|| self.param("ScriptName"))
    }
}

impl Default for Command {
    /// A command that the service does not describe.
    fn default() -> Self {
        Self { name: "Unknown".to_owned(), params: Vec::new(), content: Attachment::default() }
    }
}

impl fmt::Display for Command {
    /// Prints the command without its arguments, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            self.name,
            self.library_name().or_else(|| self.param("Path")).unwrap_or_default()
        )
    }
}

/// Refuses an empty list, and any order other than PutFile* RunScript* GetFile* (page
/// "run-live-response").
pub fn check_commands(commands: &[Command]) -> Result<()> {
    if commands.is_empty() {
        return Err(Error::invalid("there are no commands").with_hint("give at least one Command"));
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
            return Err(Error::invalid(message)
                .with_hint("give every PutFile first, then every RunScript, then every GetFile"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_documented_order_is_accepted() {
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
    fn invalid_library_names_are_refused() {
        for name in ["", "a b.ps1", "../x", r"C:\x.ps1", "a/b", "é.ps1", "..", "a\0b"] {
            assert!(
                Command::put_file(name).is_err() && Command::run_script(name, None).is_err(),
                "{name:?}"
            );
        }
        for path in ["", " ", "a\nb", "C:\\a\u{1b}[31m", "/tmp/\u{7}", "a\u{9b}b", "a\0"] {
            assert!(Command::get_file(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_serialized_command_is_read_back() {
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
