//! What `run` and `submit` take alike, on its way to the core's `SubmitRequest`.

use pyo3::prelude::*;

use crate::error::Result;
use crate::python::arguments::{CommandsArgument, MachineArgument, parse_on_busy};
use crate::python::errors::to_pyerr;
use crate::session::{Sessions, SubmitRequest};

/// A submit as it was asked for, its machine not looked up yet.
pub struct SubmitArgs {
    machine: MachineArgument,
    commands: CommandsArgument,
    comment: String,
    correlation_id: Option<String>,
    wait_if_busy: bool,
}

impl SubmitArgs {
    pub fn new(
        py: Python<'_>,
        machine: MachineArgument,
        commands: CommandsArgument,
        comment: String,
        on_busy: &str,
        correlation_id: Option<String>,
    ) -> PyResult<Self> {
        let wait_if_busy = parse_on_busy(on_busy).map_err(|error| to_pyerr(py, error))?;
        Ok(Self { machine, commands, comment, correlation_id, wait_if_busy })
    }

    /// The submit, its machine looked up. What is wrong with it is said before any request.
    pub async fn resolve(self, sessions: &Sessions) -> Result<SubmitRequest> {
        let mut submit = SubmitRequest {
            machine_id: String::new(),
            commands: self.commands.0,
            comment: self.comment,
            correlation_id: self.correlation_id,
            wait_if_busy: self.wait_if_busy,
        };
        submit.check()?;
        submit.machine_id = self.machine.resolve_id(&sessions.pipeline).await?;
        Ok(submit)
    }
}
