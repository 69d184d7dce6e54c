//! The outcome of a row.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::model::is_machine_id;
use crate::session::SessionResult;
use crate::state::run_store::NumberedOutcome;
use crate::text::printable;
use crate::trace::LOG_TARGET;

/// How a row ended. Each row of a run has exactly one outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The index of the row in the list that the caller gave, from 0.
    pub row: u32,
    /// As given.
    pub machine: String,
    #[serde(default)]
    pub computer_dns_name: Option<String>,
    pub machine_id: Option<String>,
    pub tenant_id: Option<String>,
    pub action_id: Option<String>,
    pub correlation_id: Option<String>,
    pub status: Option<String>,
    /// One word; `ok` if everything succeeded.
    pub reason: String,
    /// The reason as a sentence.
    pub message: String,
    /// Why the session did not end.
    pub error: Option<Error>,
    /// When its first session was accepted, in seconds since the Unix epoch.
    pub started: Option<f64>,
    /// When the outcome was known.
    pub ended: f64,
}

impl Outcome {
    /// Reads an outcome of the run store.
    pub fn from_store(numbered: &NumberedOutcome) -> Result<Self> {
        serde_json::from_str(&numbered.outcome).map_err(|error| {
            let row = numbered.row;
            Error::new(
                Kind::State,
                format!("the stored outcome of row {row} is not valid: {error}"),
            )
        })
    }

    pub fn is_ok(&self) -> bool {
        self.reason == "ok"
    }

    /// Takes the outcome from the result of the session.
    pub fn set_result(&mut self, result: &SessionResult) {
        self.action_id = Some(result.action.id.clone());
        self.set_name(result.action.computer_dns_name.as_deref());
        self.status = Some(result.action.status.clone());
        self.reason.clone_from(&result.reason);
        self.message.clone_from(&result.message);
    }

    /// Takes the machine's name from its action, which has it as the service knows it now.
    pub fn set_name(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !name.trim().is_empty()) {
            self.computer_dns_name = Some(name.to_owned());
        }
    }

    /// Returns the machine as people know it: as given, or by its name if its id was given.
    pub fn label(&self) -> &str {
        match &self.computer_dns_name {
            Some(name) if is_machine_id(self.machine.trim()) => name,
            _ => &self.machine,
        }
    }

    /// Takes the outcome from the error that kept the session from its end.
    pub fn set_error(&mut self, error: Error) {
        let reason = match error.kind {
            Kind::MachineBusy => "busy",
            // With an action, it is the action that was not found.
            Kind::NotFound if self.action_id.is_none() => "machine",
            Kind::AmbiguousMachine => "machine",
            Kind::PermissionDenied => "permission",
            _ => "error",
        };
        // Errors name the machine by its id.
        let message = match &self.machine_id {
            Some(id) => error.message.replace(id, self.label()),
            None => error.message.clone(),
        };
        self.set_reason(reason, message);
        self.action_id = self.action_id.take().or_else(|| error.action_id.clone());
        self.error = Some(error);
    }

    /// Logs the end of a row in one line, so that a run can be followed by its log.
    pub fn log(&self, run_id: &str) {
        let machine = printable(self.label());
        let session = self.action_id.as_ref().map(|id| format!(", session {}", printable(id)));
        let why = match self.reason.as_str() {
            "ok" => String::new(),
            _ => format!(": {}", printable(&self.message)),
        };
        log::info!(
            target: LOG_TARGET,
            "run {}, machine {machine}: {}{why}{}",
            printable(run_id),
            self.reason,
            session.unwrap_or_default()
        );
    }

    pub fn set_reason(&mut self, reason: &str, message: impl Into<String>) {
        reason.clone_into(&mut self.reason);
        self.message = message.into();
    }
}
