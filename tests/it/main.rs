//! The one integration-test binary: linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod emulator_life;
mod emulator_support;
mod store_conformance;
mod store_limits;
mod store_oracle;
mod store_processes;
mod store_redis;
mod store_sqlite;
mod store_support;
