//! The one integration-test binary: linked once.

mod emulator_life;
mod emulator_support;
mod store_conformance;
mod store_oracle;
mod store_processes;
mod store_redis;
mod store_sqlite;
mod store_support;
