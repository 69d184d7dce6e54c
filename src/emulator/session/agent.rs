//! What the agent, and the portal's rules, make of a script before it runs (docs/service.md,
//! section 19).

use crate::emulator::session::action::{Command, Step, StepFailure};
use crate::emulator::session::script::ScriptOutcome;
use crate::emulator::state::State;
use crate::emulator::wire::reply::ApiError;

const REFUSED_IN_PORTAL: [char; 7] = [';', '&', '|', '!', '$', '(', ')'];
const HASH_MISMATCH: i64 = 323;

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

    /// Returns how the agent ends in place of the script, if it finds another hash.
    pub fn hash_mismatch(&self, name: &str) -> Option<ScriptOutcome> {
        let is_powershell = name.to_ascii_lowercase().ends_with(".ps1");
        (self.switches.script_hash_differs && is_powershell)
            .then(|| ScriptOutcome { exit_code: Some(HASH_MISMATCH), ..ScriptOutcome::default() })
    }
}
