//! Coming back to the interpreter from a wait, unless it is about to end.
//!
//! A thread that takes the GIL once the interpreter finalizes is ended by CPython in the middle of Rust frames, which
//! aborts the process. So a wait that ends after the exit hook has closed the gate never comes back: its thread, a daemon
//! one, parks until the process is gone, as CPython 3.14 does it. So does one that is in the middle of the caller's own code.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// The threads between the end of a wait and the GIL, and whether the gate is closed. No lock: one might be held at a fork.
static REATTACHING: AtomicUsize = AtomicUsize::new(0);

/// Runs `wait` with the GIL released.
pub fn detach<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    let value = py.detach(|| {
        let value = wait();
        enter();
        value
    });
    REATTACHING.fetch_sub(1, Ordering::SeqCst);
    value
}

fn enter() {
    if REATTACHING.fetch_add(1, Ordering::SeqCst) & CLOSED != 0 {
        REATTACHING.fetch_sub(1, Ordering::SeqCst);
        park_forever();
    }
}

fn park_forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Calls the caller's own code, which may take its time, and so may be under way when the interpreter ends: its thread, a
/// daemon one or one of the core's, then parks. As it is, CPython before 3.14 ends it by unwinding it, and Rust frames, which
/// free Python's objects without the GIL as they are unwound, abort the process. pyo3 does the same in `Python::attach`.
pub fn call_python<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<
        'py,
        Target = PyTuple,
        Output = Bound<'py, PyTuple>,
        Error: Into<PyErr>,
    >,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = arguments.into_pyobject(callable.py()).map_err(Into::into)?;
    call_tuple(callable, &arguments)
}

#[cfg(windows)]
fn call_tuple<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    // Windows ends a thread without unwinding it.
    callable.call1(arguments)
}

#[cfg(not(windows))]
#[allow(
    unsafe_code,
    reason = "pyo3 declares the function as one that never unwinds, and leaves no frame to park in"
)]
fn call_tuple<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    use pyo3::ffi::PyObject;

    unsafe extern "C-unwind" {
        fn PyObject_Call(
            callable: *mut PyObject,
            args: *mut PyObject,
            kwargs: *mut PyObject,
        ) -> *mut PyObject;
    }

    struct ParkOnUnwind;

    impl Drop for ParkOnUnwind {
        fn drop(&mut self) {
            park_forever();
        }
    }

    // SAFETY: both are live objects, and the thread is attached, as `callable` bears witness.
    let result = unsafe {
        let guard = ParkOnUnwind;
        let result = PyObject_Call(callable.as_ptr(), arguments.as_ptr(), std::ptr::null_mut());
        std::mem::forget(guard);
        result
    };
    // SAFETY: what the call gave is a new reference, or null and an exception is set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// Lets nobody in any more, and waits, the GIL released, until who was on the way has arrived.
pub fn close() {
    REATTACHING.fetch_or(CLOSED, Ordering::SeqCst);
    while REATTACHING.load(Ordering::SeqCst) != CLOSED {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// In a forked child: the parent's threads are not on the way here.
pub fn reopen() {
    REATTACHING.store(0, Ordering::SeqCst);
}
