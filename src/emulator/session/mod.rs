//! Live response sessions: submit, cancel, their lifecycle and what scripts do.

pub mod action;
pub mod action_json;
pub mod action_properties;
pub mod action_store;
mod agent;
pub mod cancel;
pub mod comment;
pub mod events;
pub mod execution;
pub mod foreign;
pub mod lifecycle;
pub mod script;
pub mod session_counts;
pub mod submit;
