//! Session slots: how many live response sessions are open, and on which machines.

use serde::{Deserialize, Serialize};

use super::StoreFuture;

/// Keeps the session slots. A machine has at most one, and it holds until its lease ends at the
/// latest.
pub trait SlotStore: Send + Sync {
    /// Returns the sessions that hold a slot, of all processes.
    fn slots(&self) -> StoreFuture<'_, Vec<SessionSlot>>;

    /// Records sessions that the service reports as open.
    ///
    /// Afterwards each holds a slot, except on a machine that already has one.
    fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> StoreFuture<'_, ()>;

    /// Frees the slot of an action that has ended or never existed. Returns whether it held one.
    fn close_session<'a>(&'a self, action_id: &'a str) -> StoreFuture<'a, bool>;

    /// Frees the slot on the machine if its POST has been in doubt for at least `seconds`.
    ///
    /// Call it only after a lookup has shown that the POST made no action. Returns whether it freed
    /// the slot.
    fn release_in_doubt_slot(&self, machine_id: String, seconds: f64) -> StoreFuture<'_, bool>;
}

/// A session slot and the machine it is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionSlot {
    pub machine_id: String,
    /// `None` for a session of another application, or one found on the service.
    pub correlation_id: Option<String>,
    pub action_id: Option<String>,
    /// When the slot is freed at the latest, in the store's time.
    pub until: f64,
    /// Seconds since a POST was sent whose outcome is not known.
    pub in_doubt: Option<f64>,
}

/// A session found on the service.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSession {
    pub machine_id: String,
    pub action_id: String,
    /// Seconds until the service has ended it for certain.
    pub lease: f64,
}
