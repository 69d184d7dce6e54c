//! Intents: durable records of submits, written before their POST.

use serde::{Deserialize, Serialize};

use super::StoreFuture;
use crate::model::Command;

/// Keeps the intents. The holder of an intent's lease is the only one that submits it.
pub trait IntentStore: Send + Sync {
    /// Returns the intent of `key`. If there is none, creates it durably first.
    fn get_or_create_intent(
        &self,
        key: IntentKey,
        commands: Vec<Command>,
        comment: String,
    ) -> StoreFuture<'_, IntentLookup>;

    /// Returns the intent of `key`, or `None`.
    fn get_intent(&self, key: IntentKey) -> StoreFuture<'_, Option<Intent>>;

    /// Takes the intent's lease for `lease` seconds. Returns whether `token` now holds it.
    ///
    /// Fails to take it while another token holds it, or if there is no such intent. The lease ends
    /// with [`ReleaseLease`](super::store::DeferredWrite::ReleaseLease), or when its time is over.
    fn acquire_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool>;

    /// Renews the intent's lease for `lease` seconds. Returns whether `token` has held it all the
    /// time, or nobody took it since its time was over.
    ///
    /// A lease that another token took is not renewed, even if it was released again: its holder
    /// may have submitted.
    fn renew_lease(&self, key: IntentKey, token: u64, lease: f64) -> StoreFuture<'_, bool>;

    /// Records durably that a POST is about to be sent (`true`), or that none arrived (`false`).
    ///
    /// Call it before the POST. Fails if `token` no longer holds the lease, or, for `true`, if the
    /// intent no longer holds a slot: then nothing may be sent. From `true` on, the slot is held
    /// for its full lease.
    fn record_posted(&self, key: IntentKey, token: u64, posted: bool) -> StoreFuture<'_, ()>;

    /// Records durably which action the intent started.
    ///
    /// With a lease the action runs, and holds the slot and the machine for that many seconds.
    /// Without one it has ended, and both are free. A slot of another intent is left alone.
    fn record_action(
        &self,
        key: IntentKey,
        action_id: String,
        lease: Option<f64>,
    ) -> StoreFuture<'_, ()>;

    /// Deletes an intent if no POST of it reached the service, and frees its slot.
    ///
    /// An intent with an action stays as it is.
    fn delete_unsent_intent(&self, key: IntentKey) -> StoreFuture<'_, ()>;

    /// Returns whether an intent is known to have started this action. Ids are compared without
    /// case.
    fn is_action_recorded(&self, action_id: String) -> StoreFuture<'_, bool>;

    /// Records durably that this tenant's comments can't be relied on: the service or something
    /// before it changes them.
    fn record_unreliable_comments(&self) -> StoreFuture<'_, ()>;

    /// Returns whether [`record_unreliable_comments`](IntentStore::record_unreliable_comments) was
    /// ever called for this quota key.
    fn has_unreliable_comments(&self) -> StoreFuture<'_, bool>;
}

/// Identifies an intent within one tenant and application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntentKey {
    pub machine_id: String,
    pub correlation_id: String,
}

/// One intended submit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    pub commands: Vec<Command>,
    pub comment: String,
    /// When it was created, in the store's time.
    pub created: f64,
    /// A POST may have reached the service.
    pub posted: bool,
    pub action_id: Option<String>,
}

impl Intent {
    /// Returns whether a POST was sent and its outcome is not known.
    pub fn is_in_doubt(&self) -> bool {
        self.posted && self.action_id.is_none()
    }
}

/// The answer of [`IntentStore::get_or_create_intent`].
#[derive(Clone, Debug, PartialEq)]
pub struct IntentLookup {
    pub intent: Intent,
    /// The intent existed before.
    pub known: bool,
    /// Seconds for which the store has lost no data, if it may have lost some before. Then the same
    /// intent may have been posted earlier.
    pub since_state_loss: Option<f64>,
}
