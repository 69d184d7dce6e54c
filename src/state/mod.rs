//! State that outlives one call: rate windows, session slots, intents, cached statuses and fleet
//! runs.
//!
//! `memory:` shares it among the clients of one process, SQLite among the processes of one machine,
//! and Redis among many machines.

pub mod address;
pub mod admission;
pub mod inspect;
pub mod intents;
pub mod memory;
pub mod memory_warning;
mod monotonic;
mod queue_scan;
pub mod redis;
mod retention;
pub mod run_state;
pub mod run_store;
mod service_name;
pub mod settings;
pub mod slots;
pub mod sqlite;
pub mod status_cache;
pub mod store;
pub mod store_check;
mod store_error;

use futures_util::future::BoxFuture;
use serde::Serialize;
pub use service_name::service_name;
pub(crate) use store_error::unknown_run;

/// The result of a store method.
pub type StoreFuture<'a, T> = BoxFuture<'a, crate::error::Result<T>>;

/// Identifies what the service applies its limits to: one application in one tenant of one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct QuotaKey {
    /// The [`service_name`] of the host.
    pub host: String,
    pub tenant: String,
    pub application: String,
}

/// Formats a process, worker or lease id as the stores keep it: 16 hex digits.
fn hex_id(id: u64) -> String {
    format!("{id:016x}")
}
