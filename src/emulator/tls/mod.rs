//! TLS: the emulator's certificate authority, and certificates from files.

pub mod acceptor;
pub mod authority;
mod files;
