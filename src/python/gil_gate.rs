//! The gate between Python and this library, which closes when the interpreter exits.
//!
//! CPython before 3.14 ends a thread that takes the GIL during finalization. It unwinds the
//! thread, and Rust frames that are unwound free Python objects without the GIL and then abort
//! the process. Any Python code loses the GIL and takes it again, whenever another thread wants
//! it. So no thread may be on its way through this library at that moment.
//!
//! A thread is *inside* from the first line of a call to its last. It is not inside
//! - while it waits with the GIL released ([`detach`]),
//! - while it runs the caller's code, which may never return ([`call_python`]).
//!
//! At exit, [`close`] waits until no thread is inside. From then on a thread that wants to come
//! inside parks, as CPython 3.14 does it. One that CPython ends in the caller's code parks as
//! soon as its unwinding reaches this library.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::PyTuple;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// The number of threads inside, and whether the gate is closed. An atomic, because a lock might
/// be held during a fork.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How many calls this thread is inside of. Only the outermost one is counted.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread has closed the gate. It goes on through it.
    static CLOSED_IT: Cell<bool> = const { Cell::new(false) };
}

/// This thread is inside while it has this.
pub struct Inside(PhantomData<*mut ()>);

/// Comes inside. Does not return once the gate is closed.
///
/// A function that runs Python code calls this first. It may be called again inside.
pub fn enter(py: Python<'_>) -> Inside {
    if !come_in(1) {
        py.detach(park_forever::<()>);
    }
    Inside(PhantomData)
}

impl Drop for Inside {
    fn drop(&mut self) {
        let depth = DEPTH.get();
        DEPTH.set(depth.saturating_sub(1));
        if depth == 1 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Adds to this thread's depth. Returns false if the gate is closed.
fn come_in(depth: usize) -> bool {
    if DEPTH.get() == 0
        && depth > 0
        && INSIDE.fetch_add(1, Ordering::SeqCst) & CLOSED != 0
        && !CLOSED_IT.get()
    {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
        return false;
    }
    DEPTH.set(DEPTH.get() + depth);
    true
}

/// Returns whether this thread is inside. If so, it holds the GIL.
pub fn is_inside() -> bool {
    DEPTH.get() > 0
}

/// This thread is outside while it has this. Holds how deep it was inside.
struct Outside(usize);

impl Outside {
    fn new() -> Self {
        let depth = DEPTH.replace(0);
        if depth > 0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
        Self(depth)
    }

    /// Comes back with the GIL held.
    fn come_back(self, py: Python<'_>) {
        if !come_in(self.0) {
            py.detach(park_forever::<()>);
        }
        std::mem::forget(self);
    }
}

impl Drop for Outside {
    /// Comes back with the GIL released.
    fn drop(&mut self) {
        if !come_in(self.0) {
            park_forever::<()>();
        }
    }
}

fn park_forever<T>() -> T {
    loop {
        std::thread::park();
    }
}

/// Runs `wait` with the GIL released. Does not return once the gate is closed.
pub fn detach<T: Send>(py: Python<'_>, wait: impl FnOnce() -> T + Send) -> T {
    // Until the GIL is held again.
    let _inside = enter(py);
    py.detach(|| {
        let _outside = Outside::new();
        wait()
    })
}

/// Attaches one of this library's own threads to Python. Returns None once the gate is closed:
/// nobody needs the outcome.
pub fn attach<T>(act: impl FnOnce(Python<'_>) -> T) -> Option<T> {
    if !come_in(1) {
        return None;
    }
    // Until the GIL is released.
    let _inside = Inside(PhantomData);
    Some(Python::attach(act))
}

/// Calls the caller's code, which may still be running when the interpreter exits. Its thread
/// then parks.
pub fn call_python<'py>(
    callable: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<
        'py,
        Target = PyTuple,
        Output = Bound<'py, PyTuple>,
        Error: Into<PyErr>,
    >,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let arguments = arguments.into_pyobject(py).map_err(Into::into)?;
    let outside = Outside::new();
    let result = call_tuple(callable, &arguments);
    outside.come_back(py);
    result
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
#[allow(unsafe_code, reason = "pyo3's own call frees objects while it unwinds, before we can park")]
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
            park_forever::<()>();
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

/// Closes the gate for all threads but this one, and waits until none is inside. Call it without
/// the GIL.
///
/// Code inside is this library's and short. If it takes longer than `timeout` all the same, such
/// as a `__del__` that sleeps, the exit goes on: it must not hang.
pub fn close(timeout: Duration) {
    CLOSED_IT.set(true);
    INSIDE.fetch_or(CLOSED, Ordering::SeqCst);
    let own = usize::from(DEPTH.get() > 0);
    let until = Instant::now() + timeout;
    while INSIDE.load(Ordering::SeqCst) & !CLOSED > own && Instant::now() < until {
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Opens the gate in a forked child, which has none of the parent's other threads.
pub fn reopen() {
    CLOSED_IT.set(false);
    INSIDE.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
}

/// Runs Python code in a `Drop`, unless the interpreter is gone.
pub fn with_python_in_drop(act: impl FnOnce(Python<'_>) -> PyResult<()>) {
    Python::try_attach(|py| {
        // An exception may be propagating, and Python must not be called while one is set.
        let pending_exception = PyErr::take(py);
        let _inside = enter(py);
        if let Err(error) = act(py) {
            error.write_unraisable(py, None);
        }
        if let Some(error) = pending_exception {
            error.restore(py);
        }
    });
}
