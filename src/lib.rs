//! The core of `mde-live-response`.
pub mod clock;
pub mod config;
pub mod emulator;
pub mod error;
pub mod model;
pub mod operation;
pub mod secret;
pub mod transport;
