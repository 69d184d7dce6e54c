//! The core of `mde-live-response`: runs live response sessions of Microsoft Defender for Endpoint
//! exactly once.
//!
//! How a call travels:
//!
//! 1. [`client`] turns an operation of the service into one [`pipeline::ApiCall`].
//! 2. [`pipeline`] waits for the rate limit ([`limits`], [`state`]), gets a token ([`auth`]), sends
//!    the request through the [`transport`], maps a refusal to an error ([`classify`]) and asks
//!    [`retry`] whether to send it again.
//! 3. [`session`] submits a session once and verifies that the action is ours. The [`poller`] then
//!    reads the status of all open sessions of a client in one list call.
//! 4. [`transfer`] streams downloads and uploads.
//! 5. [`fleet`] runs commands on many machines and records its progress, so that a stopped run can
//!    be resumed.
//! 6. [`python`] is the binding: blocking and asynchronous.
//!
//! [`emulator`] is a local copy of the service. It uses the transport and the model, but none of
//! the client's logic, so that a mistake there does not hide in the emulator.
//!
//! The layers, top first. A module only uses modules on lines below its own:
//!
//! ```text
//! python
//! fuzz
//! emulator, fleet, probe
//! session
//! check
//! library, poller
//! client
//! pipeline
//! auth, limits
//! classify, retry, slow_wait, state, transfer
//! transport
//! trace
//! pauses
//! config
//! model, secret
//! clock, digest, error, operation
//! text
//! ```

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
pub mod probe;
pub mod retry;
pub mod secret;
pub mod session;
pub mod slow_wait;
pub mod state;
pub(crate) mod text;
pub mod trace;
pub mod transfer;
pub mod transport;

#[cfg(feature = "python")]
mod python;
