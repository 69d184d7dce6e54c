//! Coming back to the interpreter from a wait, unless it is about to end.
//!
//! A thread that takes the GIL once the interpreter finalizes is ended by CPython in the middle of Rust frames, which
//! aborts the process. So a wait that ends after the exit hook has closed the gate never comes back: its thread, a daemon
//! one, parks until the process is gone, as CPython 3.14 does it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// The threads between the end of a wait and the GIL, and whether the gate is closed. No lock: one might be held at a fork.
static PASSING: AtomicUsize = AtomicUsize::new(0);

/// Runs `wait` with the GIL released.
pub fn detached<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    let value = py.detach(|| {
        let value = wait();
        enter();
        value
    });
    PASSING.fetch_sub(1, Ordering::SeqCst);
    value
}

fn enter() {
    if PASSING.fetch_add(1, Ordering::SeqCst) & CLOSED != 0 {
        PASSING.fetch_sub(1, Ordering::SeqCst);
        loop {
            std::thread::park();
        }
    }
}

/// Lets nobody in any more, and waits, the GIL released, until who was on the way has arrived.
pub fn close() {
    PASSING.fetch_or(CLOSED, Ordering::SeqCst);
    while PASSING.load(Ordering::SeqCst) != CLOSED {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// In a forked child: the parent's threads are not on the way here.
pub fn reopen() {
    PASSING.store(0, Ordering::SeqCst);
}
