//! What a submit needs to know: the caller's request, and the plan that its steps share.
//!
//! Data only. The steps are in `submit.rs`.

use std::sync::Arc;

use tokio::sync::Notify;

use super::evidence::{Evidence, has_same_commands};
use super::history::SubmitHistory;
use super::{Session, Sessions, Tag};
use crate::classify::Throttle;
use crate::config::Limits;
use crate::error::{Error, Kind, Result};
use crate::limits::{IntentLease, Quota};
use crate::model::{Command, CommandType, MachineAction, check_commands, is_machine_id};
use crate::state::store::IntentKey;

/// What the caller wants to submit.
#[derive(Clone, Debug)]
pub struct SubmitRequest {
    pub machine_id: String,
    pub commands: Vec<Command>,
    pub comment: String,
    /// None: a random id is generated, so no later call can find this submit by its id.
    pub correlation_id: Option<String>,
    /// Wait while the machine is busy, instead of failing with MachineBusy.
    pub wait_if_busy: bool,
}

/// Options of a submit that only a fleet sets.
#[derive(Clone, Debug, Default)]
pub struct SubmitOptions {
    /// The correlation id was generated for this submit, so if the store records no POST, no POST
    /// was sent.
    pub new_correlation_id: bool,
    /// Notified when the submit leaves the queue.
    pub on_admitted: Option<Arc<Notify>>,
}

/// The result of one POST, after its response or the service's list was read.
#[derive(Debug)]
pub enum PostOutcome {
    /// The action is ours. The flag is true if it existed before this POST.
    Ours(Box<MachineAction>, bool),
    /// The machine is busy with another action.
    Busy(BusyMachine),
    Throttled(Throttle, Error),
    /// No POST was attempted in the end: no token, no lease, or the caller cancelled.
    NotPosted(Error),
    /// No POST was attempted, because the list must be read again first.
    Outdated,
    NotSent(Error),
    TokenRefused(Error),
    Refused(Error),
    /// A 404, although the service lists the machine.
    NotFound(Error),
    /// The service may have accepted it. The intent and the slot are kept.
    Unknown(Error),
    /// Two POSTs failed and the list shows no action. The intent is kept, the slot is released.
    NotStarted(Error),
}

/// Why a submit could not have the machine.
#[derive(Debug)]
pub struct BusyMachine {
    pub error: Error,
    /// The open action that the service's list shows.
    pub listed: Option<String>,
    /// That action was open during the whole POST, so no copy of the POST can have started another.
    pub is_proven: bool,
    /// The service answered with the other action, as if it had accepted the submit.
    pub is_foreign_response: bool,
}

/// A submit that is running: the data that each of its steps needs.
#[derive(Clone)]
pub(super) struct SubmitPlan {
    pub sessions: Arc<Sessions>,
    pub quota: Arc<Quota>,
    /// Every part of this submit holds it, so that no other process works on the same intent.
    pub intent_lease: Arc<IntentLease>,
    pub commands: Arc<[Command]>,
    pub tag: Tag,
    pub comment: String,
    /// The caller gave the correlation id, so other callers may use it too.
    pub has_caller_id: bool,
    pub wait_if_busy: bool,
    /// The store lost its data a short time ago: an earlier POST of this intent may be unlisted.
    pub store_was_reset: bool,
    /// The longest time, in seconds, that this session can hold the machine and its slot.
    pub slot_ttl: f64,
    /// Notified when the submit leaves the queue.
    pub on_admitted: Option<Arc<Notify>>,
    pub history: Arc<SubmitHistory>,
}

impl PostOutcome {
    /// Returns whether no copy of the POST can have started a session.
    pub fn proves_nothing_started(&self) -> bool {
        match self {
            Self::NotPosted(_) | Self::Outdated | Self::NotSent(_) => true,
            Self::Busy(busy) => busy.is_proven,
            // Without a status there was no response: the request was not sent.
            Self::Refused(error) => error.status.is_none() || is_final_refusal(error),
            // A gateway may have sent two copies, and the token expired between them.
            Self::Ours(..)
            | Self::Throttled(..)
            | Self::TokenRefused(_)
            | Self::NotFound(_)
            | Self::Unknown(_)
            | Self::NotStarted(_) => false,
        }
    }
}

/// Returns whether the service itself refused the submit for a reason that holds for each copy of
/// it: a bad request, a missing permission.
///
/// Busy, throttled or not found may be the answer to a second copy that a gateway sent, and a
/// redirect or a 499 comes from a gateway.
pub(super) fn is_final_refusal(error: &Error) -> bool {
    let has_code = error.code.is_some();
    error.kind != Kind::MachineBusy && has_code && matches!(error.status, Some(400 | 403))
}

impl SubmitRequest {
    /// Rejects what the service would reject, before any request is sent.
    pub fn check(&self) -> Result<()> {
        check_commands(&self.commands)?;
        if self.comment.trim().is_empty() {
            return Err(Error::invalid("a submit needs a comment")
                .with_hint("give the reason: the service stores it with the action"));
        }
        check_correlation_id(self.correlation_id.as_deref().unwrap_or("-"))
    }

    /// Returns the longest time, in seconds, that the session can hold the machine.
    pub fn slot_ttl(&self, limits: &Limits) -> f64 {
        let scripts = self
            .commands
            .iter()
            .filter(|command| command.command_type() == Some(CommandType::RunScript));
        // The machine may be offline first, and each script may run for its whole time. One more
        // script time is for the other commands.
        limits.queue_time + limits.settle_time + limits.script_time * (scripts.count() + 1) as f64
    }
}

impl SubmitPlan {
    pub fn key(&self) -> &IntentKey {
        &self.intent_lease.key
    }

    pub fn machine_id(&self) -> &str {
        &self.intent_lease.key.machine_id
    }

    pub fn limits(&self) -> &Limits {
        &self.sessions.pipeline.options.limits
    }

    /// Calls `judge` with what is known of the submit.
    pub fn with_evidence<T>(&self, judge: impl FnOnce(&Evidence<'_>) -> T) -> T {
        judge(&Evidence {
            tag: &self.tag,
            machine_id: self.machine_id(),
            commands: &self.commands,
            posted_at: self.history.posted_at(&self.sessions),
            known_before: &self.history.known_before(),
        })
    }

    /// Returns whether an action that has our tag is ours.
    pub fn is_ours(&self, action: &MachineAction) -> bool {
        // No other caller knows an id that was generated here. So the action is ours even if the
        // service words its commands in another way.
        !self.has_caller_id || has_same_commands(action, &self.commands)
    }

    /// Returns the session of an action that has our tag.
    pub fn session(&self, action: &MachineAction, adopted: bool) -> Session {
        Session { adopted, ..self.sessions.session_from_action(self.key(), action) }
    }

    pub fn commands_mismatch_error(&self) -> Error {
        commands_mismatch_error(self.key())
    }

    pub fn annotate(&self, error: Error) -> Error {
        annotate(self.key(), error)
    }
}

/// Returns the key under which the store keeps the submit.
pub(super) fn intent_key(machine_id: &str, correlation_id: &str) -> Result<IntentKey> {
    if !is_machine_id(machine_id) {
        return Err(Error::invalid(format!("{machine_id:?} is not a machine id"))
            .with_hint("a machine id has 40 hexadecimal digits; look up a computer name first"));
    }
    check_correlation_id(correlation_id)?;
    Ok(IntentKey {
        machine_id: machine_id.to_ascii_lowercase(),
        correlation_id: correlation_id.to_owned(),
    })
}

fn check_correlation_id(correlation_id: &str) -> Result<()> {
    match correlation_id.chars().count() {
        1..=128 => Ok(()),
        length => Err(Error::invalid(format!(
            "the correlation id has {length} characters; it must have 1 to 128"
        ))),
    }
}

pub(super) fn commands_mismatch_error(key: &IntentKey) -> Error {
    let message = format!(
        "correlation id {:?} was already submitted with other commands",
        key.correlation_id
    );
    annotate(key, Error::invalid(message).with_hint("use a new correlation id for new commands"))
}

/// Adds the machine and the correlation id to an error.
pub(super) fn annotate(key: &IntentKey, mut error: Error) -> Error {
    error.machine_id = Some(key.machine_id.clone());
    error.correlation_id = Some(key.correlation_id.clone());
    // A submit that has found its session returns it. So an action that could not be read is
    // another's, or not known to be ours.
    error.action_id = None;
    error
}

impl std::fmt::Display for PostOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ours(action, _) => write!(f, "session {}", action.id),
            Self::Outdated => write!(f, "the list has to be read again before the POST"),
            Self::Busy(BusyMachine { error, .. })
            | Self::Throttled(_, error)
            | Self::NotPosted(error)
            | Self::NotSent(error)
            | Self::TokenRefused(error)
            | Self::Refused(error)
            | Self::NotFound(error)
            | Self::Unknown(error)
            | Self::NotStarted(error) => error.fmt(f),
        }
    }
}
