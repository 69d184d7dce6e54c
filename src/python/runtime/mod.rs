//! The bridge between Python's threads and event loops and the core's futures.
//!
//! 1. A method makes a [`CoreTask`]: a future of the core, and how its value becomes a Python
//!    object.
//! 2. `blocking` waits for it with the GIL released; `coroutine` passes its value to the caller's
//!    event loop.
//! 3. `process_runtime` owns the tokio runtime and the delivery thread: one of each per process.
//! 4. `lifecycle` stops them before the interpreter exits, and abandons them in a forked child.
//!
//! Every lock that a forked child uses is taken with the GIL held and released before the GIL
//! is. A fork holds the GIL, so it finds such a lock free.

mod blocking;
mod core_task;
mod coroutine;
mod delivery;
mod interpreters;
mod lifecycle;
mod memory;
mod process_local;
mod process_runtime;
mod task_count;
mod threads;

pub use blocking::run_blocking;
pub use core_task::CoreTask;
pub use coroutine::Coroutine;
pub use interpreters::{is_main as is_main_interpreter, refuse_isolated};
pub use lifecycle::register;
pub use memory::check as check_memory;
pub use process_local::{ForkSafe, ProcessLocal};
pub use task_count::runtime_tasks;
pub use threads::ThreadPlan;
