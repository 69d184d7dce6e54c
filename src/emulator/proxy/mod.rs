//! The proxy through which a client with built-in hosts reaches the emulator.

pub mod connection;
pub mod hosts;
