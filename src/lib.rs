//! The core of `mde-live-response`.
pub mod auth;
pub mod classify;
pub mod clock;
pub mod config;
pub mod error;
pub mod model;
pub mod operation;
pub mod retry;
pub mod secret;
pub mod transfer;
pub mod transport;
