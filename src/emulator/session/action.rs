//! A machine action (docs/service.md, section 6).

use std::sync::Arc;

use uuid::Uuid;

use crate::emulator::clock::Tick;
use crate::emulator::session::script::ScriptOutcome;

/// The status of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    InProgress,
    Succeeded,
    Cancelled,
    /// `Failed`, `TimeOut`, or a word that a switch sets.
    Terminal(String),
}

impl Status {
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "Pending",
            Self::InProgress => "InProgress",
            Self::Succeeded => "Succeeded",
            Self::Cancelled => "Cancelled",
            Self::Terminal(word) => word,
        }
    }

    /// Returns whether the action is still queued or running.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Pending | Self::InProgress)
    }
}

/// A command as the client submitted it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    PutFile { name: String },
    RunScript { name: String, args: Option<String> },
    GetFile { path: String },
}

/// A command of an action, and its progress.
#[derive(Debug)]
pub struct Step {
    pub command: Command,
    /// When the command was handed to the machine. It executes a little later, at `start`.
    pub submitted: Option<Tick>,
    pub start: Option<Tick>,
    /// When it will end, as soon as that is known.
    pub due: Option<Tick>,
    pub end: Option<Tick>,
    pub failed: bool,
    pub errors: Vec<String>,
    pub result: Option<StepResult>,
    /// Why it will fail, as soon as that is known.
    pub failure: Option<StepFailure>,
}

/// Why a command fails.
#[derive(Debug)]
pub struct StepFailure {
    pub message: String,
    /// Whether a script ran longer than scripts may.
    pub timed_out: bool,
}

impl StepFailure {
    pub fn new(message: String) -> Self {
        Self { message, timed_out: false }
    }
}

/// The result of a command.
#[derive(Clone, Debug)]
pub enum StepResult {
    Script(Arc<ScriptOutcome>),
    File(Content),
}

/// The content of a file: in memory, or a path on the local disk.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(bytes::Bytes),
    Path(std::path::PathBuf),
}

/// A request to cancel an action.
#[derive(Debug)]
pub struct Cancellation {
    pub comment: String,
    pub requestor: String,
    pub requested_at: Tick,
}

/// A live response action: one session on one machine.
#[derive(Debug)]
pub struct Action {
    pub id: Uuid,
    pub machine: u32,
    pub machine_id: String,
    pub computer_name: String,
    pub application: Option<u32>,
    pub requestor: Arc<str>,
    pub comment: String,
    pub external_id: Option<String>,
    pub title: Option<String>,
    pub source: String,
    pub created: Tick,
    pub updated: Tick,
    pub ended: Option<Tick>,
    pub status: Status,
    pub steps: Vec<Step>,
    /// The index of the step that runs now.
    pub current_step: usize,
    pub cancellation: Option<Cancellation>,
    /// Whether the API shows the action. It does not show portal sessions.
    pub listed: bool,
    /// Whether a submit that finds the machine busy with this action gets 201 and this action.
    pub returned_for_other_submits: bool,
}

impl Step {
    pub fn new(command: Command) -> Self {
        Self {
            command,
            submitted: None,
            start: None,
            due: None,
            end: None,
            failed: false,
            errors: Vec::new(),
            result: None,
            failure: None,
        }
    }
}
