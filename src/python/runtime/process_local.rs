//! Values that belong to one process and must not be used in a forked child.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use pyo3::PyResult;

static FORK_COUNT: AtomicU32 = AtomicU32::new(0);

/// Identifies this process among its forks: a value of another generation is the parent's.
pub fn generation() -> u64 {
    // The process id distinguishes a fork that did not go through Python and was not counted.
    u64::from(FORK_COUNT.load(Ordering::Relaxed)) << 32 | u64::from(std::process::id())
}

/// Starts a new generation, in a forked child.
pub fn count_fork() {
    FORK_COUNT.fetch_add(1, Ordering::Relaxed);
}

/// A value of the process that made it. In a forked child it is neither used nor dropped: its
/// locks may be held, and its threads do not exist there.
pub struct ProcessLocal<T> {
    generation: u64,
    value: Option<T>,
}

impl<T> ProcessLocal<T> {
    pub fn new(value: T) -> Self {
        Self { generation: generation(), value: Some(value) }
    }

    /// Returns the value; None in a forked child.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.generation == generation())
    }

    /// Returns the value; None in a forked child.
    pub fn into_inner(mut self) -> Option<T> {
        if self.generation == generation() { self.value.take() } else { None }
    }
}

impl<T> Drop for ProcessLocal<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            // A drop might wait for a lock or a thread of the parent.
            std::mem::forget(self.value.take());
        }
    }
}

/// A value that a forked child makes again when it first needs it.
pub struct ForkSafe<T>(Mutex<ProcessLocal<T>>);

impl<T: Clone> ForkSafe<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(ProcessLocal::new(value)))
    }

    /// Returns the value if this process made it.
    pub fn get(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get().cloned()
    }

    /// Returns this process's value. A failure leaves the slot unchanged, so that the next call
    /// tries again.
    pub fn get_or_remake(&self, remake: impl FnOnce() -> PyResult<T>) -> PyResult<T> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        // Without the lock: `remake` runs Python code, which gives the GIL to other threads. One
        // that then waited for the lock would hold the GIL that this thread needs.
        let value = remake()?;
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster. All use its value.
        if let Some(first) = slot.get() {
            return Ok(first.clone());
        }
        *slot = ProcessLocal::new(value.clone());
        Ok(value)
    }
}
