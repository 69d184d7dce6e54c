//! What one row of a run came to: exactly one outcome, whatever happened.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind};
use crate::session::SessionResult;

/// The end of one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The row's place among those that were given, from 0.
    pub row: u32,
    /// As given.
    pub machine: String,
    pub machine_id: Option<String>,
    pub tenant_id: Option<String>,
    pub action_id: Option<String>,
    pub correlation_id: Option<String>,
    pub status: Option<String>,
    /// In one word; `ok` where all was.
    pub reason: String,
    /// The same for a person.
    pub message: String,
    /// What kept the session from its end.
    pub error: Option<Error>,
    /// When its first session was accepted, in seconds since the Unix epoch.
    pub started: Option<f64>,
    /// When the outcome was known.
    pub ended: f64,
}

impl Outcome {
    pub fn is_ok(&self) -> bool {
        self.reason == "ok"
    }

    /// The outcome is what the session came to.
    pub fn set_result(&mut self, result: &SessionResult) {
        self.action_id = Some(result.action.id.clone());
        self.status = Some(result.action.status.clone());
        self.reason.clone_from(&result.reason);
        self.message.clone_from(&result.message);
    }

    /// The outcome is what kept a session from its end.
    pub fn set_error(&mut self, error: Error) {
        let reason = match error.kind {
            Kind::MachineBusy => "busy",
            Kind::NotFound if self.action_id.is_none() => "machine",
            Kind::AmbiguousMachine => "machine",
            Kind::PermissionDenied => "permission",
            _ => "error",
        };
        self.set_reason(reason, error.message.clone());
        self.action_id = self.action_id.take().or_else(|| error.action_id.clone());
        self.error = Some(error);
    }

    pub fn set_reason(&mut self, reason: &str, message: impl Into<String>) {
        reason.clone_into(&mut self.reason);
        self.message = message.into();
    }
}
