//! Whether a store still remembers everything, and what the service's list adds to it.

use super::StoreFuture;
use super::slots::OpenSession;

/// A store that may be new, or may have lost or rewound its memory.
pub trait CheckedStore: Send + Sync {
    /// Returns whether the store must be held against the service's list.
    ///
    /// While it must, nothing is submitted. [`record_check`](CheckedStore::record_check) ends that.
    fn needs_check(&self) -> StoreFuture<'_, bool>;

    /// Returns those of the actions that no intent started and no earlier check recorded.
    fn find_unknown_actions(&self, action_ids: Vec<String>) -> StoreFuture<'_, Vec<String>>;

    /// Records what the list shows: counts the submits in their window, and takes slots for the
    /// open sessions.
    ///
    /// If there are submits that the store did not know, intents may be missing as well. Then
    /// [`IntentLookup::since_state_loss`](super::intents::IntentLookup) counts from now.
    fn record_check(&self, listed: ListedActions) -> StoreFuture<'_, ()>;
}

/// What the service's list shows of this application.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListedActions {
    /// The submits that the store did not know, each with the seconds since.
    pub unknown: Vec<(String, f64)>,
    pub open: Vec<OpenSession>,
}
