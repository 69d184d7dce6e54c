//! The trait that every store implements, and the types of its interface in one place.
//!
//! Every method is one atomic decision or one durable write. Times are seconds since the Unix epoch
//! by the store's own clock, which never goes back. Waits and leases are seconds.

use serde::{Deserialize, Serialize};

pub use super::StoreFuture;
pub use super::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionStore, QueueEntry, SlotRequest, Ticket,
    WindowUsage,
};
pub use super::intents::{Intent, IntentKey, IntentLookup, IntentStore};
use super::run_store::RunStore;
pub use super::settings::{StoreSettings, TimeSource};
pub use super::slots::{OpenSession, SessionSlot, SlotStore};
pub use super::status_cache::{CachedStatus, StatusCache};
pub use super::store_check::{CheckedStore, ListedActions};
use crate::operation::Operation;

/// The state that all clients of one quota key share.
pub trait Store:
    AdmissionStore + SlotStore + IntentStore + StatusCache + CheckedStore + 'static
{
    /// Returns the address without its password.
    fn address(&self) -> &str;

    /// Returns whether other processes can open the same store.
    fn is_shared(&self) -> bool;

    /// Returns the weaknesses found when the store was opened.
    fn notices(&self) -> Vec<Notice> {
        Vec::new()
    }

    /// Queues a write that nobody waits for. Queued writes are done soon, in the order of the
    /// calls.
    ///
    /// A write may be lost with the process or while the store is down. Then the lease does the
    /// same later.
    fn defer(&self, write: DeferredWrite);

    /// Returns once every write queued by [`defer`](Store::defer) before is done or given up.
    fn flush(&self) -> StoreFuture<'_, ()>;

    /// Returns the store of fleet runs.
    fn run_store(&self) -> &dyn RunStore;

    /// Returns what is stored for the quota key. Changes nothing.
    fn snapshot(&self) -> StoreFuture<'_, Snapshot>;

    /// Deletes what is older than `seconds`, except what is open or in use. Returns the counts.
    fn prune(&self, seconds: f64) -> StoreFuture<'_, Pruned>;

    /// Closes, before a fork, what a child process must not inherit.
    ///
    /// Blocks until it is closed. Calls made before [`reopen`](Store::reopen) wait for it.
    fn quiesce(&self) {}

    /// Opens the store again in the parent after a fork. The child opens its own.
    fn reopen(&self) {}
}

/// A write that nobody waits for.
///
/// If it is lost, the limits are only stricter until a lease ends.
#[derive(Clone, Debug)]
pub enum DeferredWrite {
    /// The call has ended. From now on it counts for one window length more. A store may write this
    /// with the next admission, if it then records when the call ended.
    EndCall(Operation, Ticket),
    /// The submit did not start a session: frees its slot and its machine.
    ReleaseSlot(String, Ticket),
    /// The holder is done with the intent. If nothing of the intent was sent, deletes it and frees
    /// its slot.
    ReleaseLease(IntentKey, u64),
}

/// A weakness of the store that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub code: String,
    pub message: String,
    pub hint: String,
}

/// What is stored for one quota key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub now: f64,
    pub windows: Vec<WindowState>,
    pub slots: Vec<SessionSlot>,
    pub intents: Vec<IntentState>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowState {
    pub name: String,
    /// Calls that run.
    pub running: u64,
    /// Calls that have ended and still count.
    pub ended: u64,
    pub waiting: u64,
    /// Seconds from now for which the service asked to wait.
    pub blocked_for: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntentState {
    pub key: IntentKey,
    pub intent: Intent,
    /// A process holds its lease.
    pub lease_held: bool,
}

/// How many records were deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    pub intents: u64,
    pub statuses: u64,
    /// Runs, each with its rows, outcomes and results.
    pub runs: u64,
}
