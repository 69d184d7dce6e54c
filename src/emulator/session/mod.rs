//! Live response sessions: submit, cancel, their lifecycle and what scripts do.

pub mod action;
pub mod action_properties;
pub mod action_store;
pub mod cancel;
pub mod events;
pub mod execution;
pub mod foreign;
mod json_fields;
pub mod lifecycle;
pub mod script;
pub mod session_counts;
pub mod submit;
