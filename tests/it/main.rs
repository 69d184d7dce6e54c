//! The one integration-test binary: linked once.

mod emulator_calls;
mod emulator_data;
mod emulator_life;
mod emulator_support;
mod emulator_wire;
