//! What outlives a single call: windows, open sessions and intents, for all that share a quota key.
//!
//! `memory:` keeps it for the clients of one process, SQLite for the processes of one machine, Redis for many machines.

pub mod address;
pub mod alone;
pub mod journal;
mod kept;
mod lost;
pub mod memory_journal;
pub mod memory_store;
mod memory_table;
mod memory_window;
pub mod operator;
pub mod redis;
mod settings;
pub mod sqlite;
mod steady;
pub mod store;
mod walk;

pub(crate) use lost::no_run;
use serde::Serialize;

/// What the service counts limits by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct QuotaKey {
    pub host: String,
    pub tenant: String,
    pub application: String,
}
