//! The arguments that `run` and `submit` share.

use pyo3::prelude::*;

use crate::error::Result;
use crate::library::check_content_sizes;
use crate::python::arguments::{CommandsArgument, MachineArgument, parse_on_busy};
use crate::session::{self, Sessions, SubmitRequest};

/// The arguments of a submit, before its machine is looked up.
pub struct SubmitArgs {
    machine: MachineArgument,
    commands: CommandsArgument,
    comment: String,
    correlation_id: Option<String>,
    wait_if_busy: bool,
}

impl SubmitArgs {
    pub fn new(
        machine: MachineArgument,
        commands: CommandsArgument,
        comment: String,
        on_busy: &str,
        correlation_id: Option<String>,
    ) -> Result<Self> {
        let wait_if_busy = parse_on_busy(on_busy)?;
        Ok(Self { machine, commands, comment, correlation_id, wait_if_busy })
    }

    /// Checks the arguments, then looks up the machine.
    pub async fn resolve(self, sessions: &Sessions) -> Result<SubmitRequest> {
        let mut submit = SubmitRequest {
            machine_id: String::new(),
            commands: self.commands.0,
            comment: self.comment,
            correlation_id: self.correlation_id,
            wait_if_busy: self.wait_if_busy,
        };
        // Before the lookup: wrong arguments must not cost a request.
        submit.check()?;
        check_content_sizes(&submit.commands, &sessions.pipeline.options.limits)?;
        submit.machine_id = self.machine.resolve_id(&sessions.pipeline).await?;
        Ok(submit)
    }
}

/// Return a correlation id that nobody has submitted with: `run` does not look for an earlier
/// session with it, the first time that it is used in this process.
#[pyfunction]
pub fn new_correlation_id() -> String {
    session::new_correlation_id()
}
