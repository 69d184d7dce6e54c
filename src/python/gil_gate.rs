//! Release of the GIL during a wait, and its safe re-acquisition while the interpreter exits.
//!
//! CPython before 3.14 ends a thread that takes the GIL during finalization. It does so in the
//! middle of Rust frames, which aborts the process. So after the exit hook has closed the gate,
//! a thread that returns from a wait (a daemon thread) parks until the process is gone, as
//! CPython 3.14 does it. A thread that is running the caller's code parks too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// The number of threads between the end of a wait and the GIL, and whether the gate is closed.
/// An atomic, because a lock might be held during a fork.
static REATTACHING: AtomicUsize = AtomicUsize::new(0);

/// Runs `wait` with the GIL released. Does not return once the gate is closed.
pub fn detach<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    let value = py.detach(|| {
        let value = wait();
        enter();
        value
    });
    // Only now, with the GIL held: the exit hook waits until the count is 0.
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

/// Calls the caller's code, which may still be running when the interpreter exits. Its thread,
/// a daemon thread or one of the core's, then parks.
///
/// CPython before 3.14 ends such a thread by unwinding it. Rust frames that free Python objects
/// without the GIL while they unwind abort the process. pyo3 does the same in `Python::attach`.
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
    // Windows ends a thread without unwinding it, so no Rust frame runs.
    callable.call1(arguments)
}

#[cfg(not(windows))]
#[allow(
    unsafe_code,
    reason = "pyo3 declares the function as never unwinding, which leaves no frame to park in"
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

    // SAFETY: both are live objects, and `callable` proves that the thread holds the GIL.
    let result = unsafe {
        let guard = ParkOnUnwind;
        let result = PyObject_Call(callable.as_ptr(), arguments.as_ptr(), std::ptr::null_mut());
        std::mem::forget(guard);
        result
    };
    // SAFETY: the result is a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(callable.py(), result) }
}

/// Closes the gate, and waits until the threads that have passed it hold the GIL. Call it
/// without the GIL.
pub fn close() {
    REATTACHING.fetch_or(CLOSED, Ordering::SeqCst);
    while REATTACHING.load(Ordering::SeqCst) != CLOSED {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Opens the gate in a forked child, which has none of the parent's threads.
pub fn reopen() {
    REATTACHING.store(0, Ordering::SeqCst);
}

/// Runs Python code in a `Drop`, unless the interpreter is gone.
pub fn with_python_in_drop(act: impl FnOnce(Python<'_>) -> PyResult<()>) {
    Python::try_attach(|py| {
        // An exception may be propagating, and Python must not be called while one is set.
        let pending_exception = PyErr::take(py);
        if let Err(error) = act(py) {
            error.write_unraisable(py, None);
        }
        if let Some(error) = pending_exception {
            error.restore(py);
        }
    });
}
