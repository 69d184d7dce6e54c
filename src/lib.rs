//! The core of `mde-live-response`: live response sessions of Microsoft Defender for Endpoint, run exactly once.
//!
//! How a call travels:
//!
//! 1. [`client`] turns an operation of the service into one [`pipeline::ApiCall`];
//! 2. [`pipeline`] stands in line ([`state`]), gets a token ([`auth`]), sends it through the [`transport`] seam, has the
//!    answer judged ([`classify`]) and asks [`retry`] whether it goes again;
//! 3. [`session`] submits once and proves the action ours, and waits for it by the [`poller`], which sees every open
//!    session of a client in one list call;
//! 4. [`transfer`] brings files down and up;
//! 5. [`fleet`] does all that for many machines, and writes down how far it came;
//! 6. [`python`] gives all of it to Python, blocking and asynchronous. Nothing imports it.
//!
//! [`emulator`] is the service in a box. It uses the seam and the model, never the client's logic.
//!
//! Arrows point downwards only: python -> emulator, fleet -> session -> poller, transfer, client -> pipeline -> retry, classify,
//! auth -> state, transport -> config, model -> error.

pub mod auth;
pub mod check;
pub mod classify;
pub mod client;
pub mod clock;
pub mod config;
pub mod digest;
pub mod emulator;
pub mod error;
pub mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod library;
pub mod limits;
pub mod model;
pub mod operation;
pub mod pauses;
pub mod pipeline;
pub mod poller;
pub mod retry;
pub mod secret;
pub mod session;
pub mod slow_wait;
pub mod state;
pub mod trace;
pub mod transfer;
pub mod transport;

#[cfg(feature = "python")]
mod python;
