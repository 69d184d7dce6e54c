//! The one integration-test binary: linked once.

mod emulator_calls;
mod emulator_data;
mod emulator_errors;
mod emulator_faults;
mod emulator_life;
mod emulator_support;
mod emulator_switches;
mod emulator_tcp;
mod emulator_wire;
