//! The bridge between Python's threads and loops and the core's futures.
//!
//! 1. A method makes a [`Call`]: a future of the core, and how its value becomes a Python object.
//! 2. `blocking` waits for it with the GIL released; `coroutine` hands its value to the caller's event loop.
//! 3. `process` owns the tokio runtime and the delivery thread, one of each in a process that needs them.
//! 4. `lifecycle` ends them before the interpreter does, and leaves them behind in a forked child.
//! 5. `mailbox` brings what the core logs to `logging`, and its spans to OpenTelemetry.
//!
//! Every lock here that a forked child uses is taken with the GIL held and let go before the GIL is, so a fork, which holds the GIL, finds it free.

mod blocking;
mod call;
mod coroutine;
mod delivery;
mod gate;
mod lifecycle;
mod mailbox;
mod process;

pub use blocking::run as run_blocking;
pub use call::{Call, IntoPython};
pub use coroutine::Coroutine;
pub use gate::{call as call_python, detached};
pub use lifecycle::{Own, register};
pub use mailbox::{Letter, post as post_letter};
