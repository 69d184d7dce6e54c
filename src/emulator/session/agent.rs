//! What the agent, and the portal's rules, make of a command before it runs (docs/service.md,
//! section 19).

use serde_json::Value;

use crate::emulator::session::action::{Command, Step, StepFailure};
use crate::emulator::session::script::ScriptOutcome;
use crate::emulator::state::State;
use crate::emulator::wire::reply::ApiError;

const REFUSED_IN_PORTAL: [char; 7] = [';', '&', '|', '!', '$', '(', ')'];
const HASH_MISMATCH: i64 = 323;
const MAX_FILE_OFF_WINDOWS: u64 = 10 << 20;

impl State {
    /// Returns an error if a script's arguments have a character that the portal refuses, and the
    /// switch says that the API refuses it too.
    pub fn check_portal_characters(&self, steps: &[Step]) -> Result<(), ApiError> {
        let is_refused = |step: &Step| match &step.command {
            Command::RunScript { args: Some(args), .. } => args.contains(REFUSED_IN_PORTAL),
            _ => false,
        };
        if self.switches.portal_characters_refused && steps.iter().any(is_refused) {
            return Err(ApiError::bad_request(
                "InvalidInput",
                "The script parameters contain characters that are not allowed.",
            ));
        }
        Ok(())
    }

    /// Returns why the agent cannot start the script, if its command line is too long.
    pub fn command_line_failure(&self, command: &Command) -> Option<StepFailure> {
        let Command::RunScript { name, args: Some(args) } = command else { return None };
        let limit = self.switches.command_line_limit?;
        (args.chars().count() > limit).then(|| {
            StepFailure::new(format!("The command line of the script '{name}' is too long."))
        })
    }

    /// Returns why the agent cannot put a file on the machine, if it is too large for its system.
    pub fn put_file_failure(&self, command: &Command, machine: u32) -> Option<StepFailure> {
        let Command::PutFile { name } = command else { return None };
        let file = self.library.get(name).filter(|file| file.length > MAX_FILE_OFF_WINDOWS)?;
        let system = self.machines.get(machine)?.properties.get("osPlatform");
        // Without the property, a machine is one with Windows.
        let is_windows = system.and_then(Value::as_str).is_none_or(|it| it.starts_with("Windows"));
        (self.switches.small_put_files && !is_windows)
            .then(|| StepFailure::new(format!("The file '{}' is too large.", file.name)))
    }

    /// Returns how the agent ends in place of the script, if it finds another hash.
    pub fn hash_mismatch(&self, name: &str) -> Option<ScriptOutcome> {
        let is_powershell = name.to_ascii_lowercase().ends_with(".ps1");
        (self.switches.script_hash_differs && is_powershell)
            .then(|| ScriptOutcome { exit_code: Some(HASH_MISMATCH), ..ScriptOutcome::default() })
    }
}
