//! Refuses to start without memory.
//!
//! Rust ends the process when the system refuses an allocation. So what a start needs is asked for
//! first, while there can still be an error.

use crate::error::{Error, Result};

/// More than a client, the runtime or an emulator needs when it starts, without the stacks of
/// threads.
const START_SIZE: usize = 1 << 20;

/// Checks that this process may have the memory for a start.
pub fn check() -> Result<()> {
    let mut reserved = Vec::<u8>::new();
    let outcome = reserved.try_reserve_exact(START_SIZE);
    // Without a use, the compiler may leave the allocation out.
    std::hint::black_box(&mut reserved);
    outcome.map_err(|_| Error::no_memory())
}
