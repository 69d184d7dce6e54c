//! The one integration-test binary: linked once.
// Tests fail by panicking; helpers outside a test function are not known to be tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod client_calls;
mod emulator_life;
mod emulator_support;
mod samples;
mod session_busy;
mod session_once;
mod session_poller;
mod session_run;
mod support;
