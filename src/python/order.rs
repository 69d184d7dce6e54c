//! What `run` and `submit` take alike, on its way to the core's `Submit`.

use pyo3::prelude::*;

use super::arguments::{CommandsArgument, MachineArgument, wait_if_busy};
use super::errors::to_python;
use crate::error::Result;
use crate::session::{Sessions, Submit};

/// A submit as it was asked for, its machine not looked up yet.
pub struct Order {
    machine: MachineArgument,
    commands: CommandsArgument,
    comment: String,
    correlation_id: Option<String>,
    wait_if_busy: bool,
}

impl Order {
    pub fn new(
        py: Python<'_>,
        machine: MachineArgument,
        commands: CommandsArgument,
        comment: String,
        on_busy: &str,
        correlation_id: Option<String>,
    ) -> PyResult<Self> {
        let wait_if_busy = wait_if_busy(on_busy).map_err(|error| to_python(py, error))?;
        Ok(Self { machine, commands, comment, correlation_id, wait_if_busy })
    }

    /// The submit, its machine looked up. What is wrong with it is said before any request.
    pub async fn submit(self, sessions: &Sessions) -> Result<Submit> {
        let mut submit = Submit {
            machine_id: String::new(),
            commands: self.commands.0,
            comment: self.comment,
            correlation_id: self.correlation_id,
            wait_if_busy: self.wait_if_busy,
        };
        submit.check()?;
        submit.machine_id = self.machine.id(&sessions.pipeline).await?;
        Ok(submit)
    }
}
