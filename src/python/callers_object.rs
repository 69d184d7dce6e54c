//! Objects of the caller that the core keeps. Their `__del__` is the caller's code, so they are
//! freed behind the gate.

use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::python::gil_gate;

/// Objects that were dropped where Python code must not run. Nobody waits for the lock: in a
/// forked child it may be held for ever.
static DROPPED: Mutex<Vec<Py<PyAny>>> = Mutex::new(Vec::new());
static ANY_DROPPED: AtomicBool = AtomicBool::new(false);

/// An object of the caller.
pub struct CallersObject(Option<Py<PyAny>>);

impl CallersObject {
    pub fn new(object: Py<PyAny>) -> Self {
        Self(Some(object))
    }

    pub fn get(&self) -> Option<&Py<PyAny>> {
        self.0.as_ref()
    }
}

impl Drop for CallersObject {
    fn drop(&mut self) {
        let Some(object) = self.0.take() else { return };
        if gil_gate::is_inside() {
            gil_gate::with_python_in_drop(|py| free(py, vec![object]));
        } else if let Ok(mut dropped) = DROPPED.try_lock() {
            dropped.push(object);
            ANY_DROPPED.store(true, Ordering::Release);
        }
    }
}

/// Frees what was dropped by threads of the core. Every call does this first.
pub fn free_dropped(py: Python<'_>) -> PyResult<()> {
    if !ANY_DROPPED.swap(false, Ordering::Acquire) {
        return Ok(());
    }
    let dropped = DROPPED.try_lock().map(|mut dropped| std::mem::take(&mut *dropped));
    free(py, dropped.unwrap_or_default())
}

fn free(py: Python<'_>, objects: Vec<Py<PyAny>>) -> PyResult<()> {
    let _inside = gil_gate::enter(py);
    // The list has the last references.
    let list = PyList::new(py, objects)?;
    gil_gate::call_python(&list.getattr("clear")?, ()).map(drop)
}

/// A field of a Python class that refers to objects of the caller. It is freed inside.
pub struct FreedInside<T>(ManuallyDrop<T>);

impl<T> FreedInside<T> {
    pub fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for FreedInside<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for FreedInside<T> {
    #[allow(unsafe_code, reason = "a field has no other way to run code around its own drop")]
    fn drop(&mut self) {
        gil_gate::with_python_in_drop(|_| {
            // SAFETY: nothing uses the value after this drop, which runs once.
            unsafe { ManuallyDrop::drop(&mut self.0) };
            Ok(())
        });
    }
}
