//! What is shared under one quota key, as one trait: every method is one atomic decision or one durable note.
//!
//! Times are seconds since the Unix epoch by the store's own clock, which never goes back. Waits and leases are seconds.

use std::fmt;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::run_store::RunStore;
pub use super::settings::{Settings, TimeSource};
use crate::error::Result;
use crate::model::Command;
use crate::operation::Operation;

pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T>>;

/// A place in a line, and later the call that it became. Unique in the world: a chance number of the process's, and a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    pub owner: u64,
    pub number: u64,
}

/// What a ticket of the submit line is for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotRequest {
    pub machine_id: String,
    pub correlation_id: String,
    /// Seconds after which the service must have ended the session.
    pub lease: f64,
    /// Wait for a machine that one of our own sessions is on.
    pub wait: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueEntry {
    pub ticket: Ticket,
    /// Of a submit, and of nothing else.
    pub slot_request: Option<SlotRequest>,
}

/// One process's question about one line, for all its waiters at once.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    pub window: Operation,
    pub owner: u64,
    /// Seconds within which a call ends, or its process is dead.
    pub call_lease: f64,
    /// In the order of their arrival.
    pub join: Vec<QueueEntry>,
    /// Some of `join` may be there already, or may have been let through: an earlier answer was lost.
    pub is_retry: bool,
    /// Gave up, also after they were let through but before anything was sent.
    pub leave: Vec<Ticket>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdmissionResponse {
    /// These may go now: their calls have begun.
    pub granted: Vec<Ticket>,
    /// These would not wait for their machine, and are out of the line; the session that is on it, where it is known.
    pub occupied: Vec<(Ticket, Option<String>)>,
    /// The line did not know the process: it stood still for longer than its lease, and its places were given away.
    pub owner_unknown: bool,
    /// The store lost what it knew of open sessions: nothing is submitted until [`Store::record_open_sessions`] tells it.
    pub sessions_unknown: bool,
    /// Seconds until asking again may help; infinite where nobody waits, or only a change can help.
    pub wait: f64,
}

/// How full a window is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowUsage {
    /// The part of the fullest rate that is free, from 0 to 1.
    pub free_share: f64,
    /// Seconds until there may be room for the next in line.
    pub wait: f64,
}

/// What need not be waited for; lost with the process, it only makes the limits stricter for the length of a lease.
#[derive(Clone, Debug)]
pub enum DeferredWrite {
    /// The call is over.
    EndCall(Operation, Ticket),
    /// Nothing came of the submit: its slot and its machine are free.
    ReleaseSlot(String, Ticket),
    /// The turn of an intent is over. If nothing of it reached the service, the intent is forgotten.
    ReleaseLease(IntentKey, u64),
}

/// A session slot and the machine that it is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    pub machine_id: String,
    /// None: another's session, that was learned of.
    pub correlation_id: Option<String>,
    pub action_id: Option<String>,
    pub until: f64,
    /// Seconds since a POST left of which it is not known whether it made an action.
    pub in_doubt: Option<f64>,
}

/// A session that the service showed and that the store may not know.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSession {
    pub machine_id: String,
    pub action_id: String,
    pub lease: f64,
}

/// What one correlation id means: within tenant, application and machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntentKey {
    pub machine_id: String,
    pub correlation_id: String,
}

/// One intended submit, from before its POST on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub commands: Vec<Command>,
    pub comment: String,
    pub created: f64,
    /// A POST may have reached the service.
    pub posted: bool,
    pub action_id: Option<String>,
}

impl Intent {
    /// A POST left of which it is not known whether it made an action.
    pub fn is_in_doubt(&self) -> bool {
        self.posted && self.action_id.is_none()
    }
}

/// An intent, and how it came to be there.
#[derive(Clone, Debug, PartialEq)]
pub struct IntentLookup {
    pub intent: Intent,
    /// It was there before.
    pub known: bool,
    /// Seconds since the store lost its memory, if it did: the intent may have been there, and posted, before.
    pub since_state_loss: Option<f64>,
}

/// What was last seen of an action, by any process.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedStatus {
    /// The action as JSON.
    pub body: String,
    /// Seconds.
    pub age: f64,
}

/// Something about the store that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub code: String,
    pub message: String,
    pub hint: String,
}

/// What an operator is shown of one quota key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub now: f64,
    pub windows: Vec<WindowState>,
    pub slots: Vec<Slot>,
    pub intents: Vec<IntentState>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowState {
    pub name: String,
    /// Calls under way.
    pub running: u64,
    /// Calls that are over and still count.
    pub ended: u64,
    pub waiting: u64,
    /// Seconds that the service asked to wait, from now.
    pub blocked_for: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntentState {
    pub key: IntentKey,
    pub intent: Intent,
    /// A process is at it.
    pub lease_held: bool,
}

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    pub intents: u64,
    pub statuses: u64,
    /// With their rows, outcomes and results.
    pub runs: u64,
}

/// What all that share a quota key share.
pub trait Store: Send + Sync + 'static {
    /// The address, less its password.
    fn address(&self) -> &str;

    /// Whether other processes see it.
    fn is_shared(&self) -> bool;

    /// What is weak about it, found when it was opened.
    fn notices(&self) -> Vec<Notice> {
        Vec::new()
    }

    /// Who may go now, first come, first served among those that could.
    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse>;

    /// The same at once, where the store is in this process.
    fn try_admit_now(&self, _request: &AdmissionRequest) -> Option<AdmissionResponse> {
        None
    }

    /// Done soon, in the order of the calls.
    fn defer(&self, what: DeferredWrite);

    /// Returns once everything given to [`Store::defer`] is done.
    fn flush(&self) -> StoreFuture<'_, ()>;

    /// The service said to wait: nobody goes through the window for `seconds`.
    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()>;

    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage>;

    /// The action is over, or never was: its slot and its machine are free. Tells whether it held one.
    fn close_session<'a>(&'a self, action_id: &'a str) -> StoreFuture<'a, bool>;

    /// There is no action after all where one has been in doubt for `seconds`. Tells whether that freed a slot.
    fn release_in_doubt_slot(&self, machine_id: String, seconds: f64) -> StoreFuture<'_, bool>;

    /// The sessions that hold a slot, of all processes.
    fn slots(&self) -> StoreFuture<'_, Vec<Slot>>;

    /// All sessions that the service lists as open, or one that it told of: those that are not known take a slot.
    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()>;

    /// The intent of `key`, made durably where there is none.
    fn get_or_create_intent(
        &self,
        key: IntentKey,
        commands: Vec<Command>,
        comment: String,
    ) -> StoreFuture<'_, IntentLookup>;

    fn get_intent(&self, key: IntentKey) -> StoreFuture<'_, Option<Intent>>;

    /// Takes or renews the turn of an intent for `lease` seconds. Tells whether `token` has it.
    fn acquire_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool>;

    /// Notes, durably, that a POST is about to leave, or that none arrived. Fails if the turn or the slot was lost.
    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()>;

    /// The intent's action is known. With a lease it runs, and holds slot and machine; without, it is over.
    fn record_action(
        &self,
        key: IntentKey,
        action_id: String,
        lease: Option<f64>,
    ) -> StoreFuture<'_, ()>;

    /// Nothing of the intent reached the service: it is forgotten, and its slot is free. One with an action stays.
    fn delete_unsent_intent(&self, key: IntentKey) -> StoreFuture<'_, ()>;

    /// What was seen of several actions, as (id, body), noted at once.
    fn cache_statuses(&self, statuses: Vec<(String, String)>) -> StoreFuture<'_, ()>;

    /// What any process saw of these actions within the last `max_age` seconds. Those not seen are left out.
    fn cached_statuses(
        &self,
        action_ids: Vec<String>,
        max_age: f64,
    ) -> StoreFuture<'_, Vec<(String, CachedStatus)>>;

    fn cache_status(&self, action_id: String, body: String) -> StoreFuture<'_, ()> {
        self.cache_statuses(vec![(action_id, body)])
    }

    fn cached_status(
        &self,
        action_id: String,
        max_age: f64,
    ) -> StoreFuture<'_, Option<CachedStatus>> {
        let statuses = self.cached_statuses(vec![action_id], max_age);
        Box::pin(async move { Ok(statuses.await?.pop().map(|(_, status)| status)) })
    }

    /// The journal of runs over many machines, where the store keeps one.
    fn run_store(&self) -> Option<&dyn RunStore> {
        None
    }

    fn snapshot(&self) -> StoreFuture<'_, Snapshot>;

    /// Removes what is older than `seconds`, less what is open.
    fn prune(&self, seconds: f64) -> StoreFuture<'_, Pruned>;

    /// Before a fork: closes what a child must not inherit. Blocks until it is closed; calls made meanwhile wait.
    fn quiesce(&self) {}

    /// After a fork, in the parent. A child opens its own.
    fn reopen(&self) {}
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.owner, self.number)
    }
}

impl Ticket {
    pub fn parse(text: &str) -> Option<Self> {
        let (owner, number) = text.split_at_checked(16)?;
        Some(Self {
            owner: u64::from_str_radix(owner, 16).ok()?,
            number: u64::from_str_radix(number, 16).ok()?,
        })
    }
}
