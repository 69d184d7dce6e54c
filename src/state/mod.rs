//! What outlives a single call: windows, open sessions and intents, for all that share a quota key.
//!
//! `memory:` keeps it for the clients of one process, SQLite for the processes of one machine, Redis for many machines.

pub mod address;
pub mod inspect;
pub mod memory_run_store;
mod memory_state;
pub mod memory_store;
pub mod memory_warning;
mod memory_window;
mod monotonic;
mod queue_scan;
mod recovery;
pub mod redis;
mod retention;
pub mod run_store;
mod settings;
pub mod sqlite;
pub mod store;

pub(crate) use recovery::unknown_run;
use serde::Serialize;

/// What the service counts limits by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct QuotaKey {
    pub host: String,
    pub tenant: String,
    pub application: String,
}
