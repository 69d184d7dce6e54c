//! The one integration-test binary: linked once.

mod emulator_life;
mod emulator_support;
mod store_conformance;
mod store_support;
