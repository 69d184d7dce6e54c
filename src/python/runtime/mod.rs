//! The bridge between Python's threads and loops and the core's futures.
//!
//! 1. A method makes a [`CoreTask`]: a future of the core, and how its value becomes a Python object.
//! 2. `blocking` waits for it with the GIL released; `coroutine` hands its value to the caller's event loop.
//! 3. `process_runtime` owns the tokio runtime and the delivery thread, one of each in a process that needs them.
//! 4. `lifecycle` ends them before the interpreter does, and leaves them behind in a forked child.
//! 5. `log_queue` brings what the core logs to `logging`, and its spans to OpenTelemetry.
//!
//! Every lock here that a forked child uses is taken with the GIL held and let go before the GIL is, so a fork, which holds the GIL, finds it free.

mod blocking;
mod core_task;
mod coroutine;
mod delivery;
mod gil_gate;
mod lifecycle;
mod log_queue;
mod process_runtime;

pub use blocking::run_blocking;
pub use core_task::{CoreTask, IntoPython};
pub use coroutine::Coroutine;
pub use gil_gate::{call_python, detach};
pub use lifecycle::{ProcessLocal, register};
pub use log_queue::{LogItem, enqueue_log};
