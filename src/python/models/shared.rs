//! Core values that Python objects share: one for itself, or one of a list.

use std::ops::Deref;
use std::sync::Arc;
use std::thread;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use pyo3::{PyClass, PyClassInitializer};

/// The items from which on a list is freed in a thread of its own. Fewer take less time than
/// the start of a thread.
const MIN_FREED_ELSEWHERE: usize = 200;

/// A core value of a Python object.
pub enum Shared<T: Send + Sync + 'static> {
    Own(Arc<T>),
    /// The item of a list at an index.
    Item(Arc<SharedList<T>>, usize),
}

/// A list whose items belong to one Python object each. It is freed as a whole, with its last
/// object.
pub struct SharedList<T: Send + Sync + 'static> {
    items: Vec<T>,
    /// Apart from the others, so that every index has an item.
    last: T,
}

impl<T: Send + Sync + 'static> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Own(value) => value,
            Self::Item(list, index) => list.items.get(*index).unwrap_or(&list.last),
        }
    }
}

impl<T: Send + Sync + 'static> Drop for SharedList<T> {
    fn drop(&mut self) {
        let items = std::mem::take(&mut self.items);
        if items.len() >= MIN_FREED_ELSEWHERE {
            // Python drops its objects with the GIL, and 10,000 items take milliseconds. If the
            // system refuses the thread, they are freed here.
            let thread = thread::Builder::new().name("mde-live-response-free".to_owned());
            let _ = thread.spawn(move || drop(items));
        }
    }
}

/// Makes a tuple of objects that share the values.
pub fn to_shared_tuple<T, C>(py: Python<'_>, mut values: Vec<T>) -> PyResult<Bound<'_, PyTuple>>
where
    T: Send + Sync + 'static,
    C: From<Shared<T>> + Into<PyClassInitializer<C>> + PyClass,
{
    let Some(last) = values.pop() else { return Ok(PyTuple::empty(py)) };
    let list = Arc::new(SharedList { items: values, last });
    let object = |index| Py::new(py, C::from(Shared::Item(list.clone(), index)));
    PyTuple::new(py, (0..=list.items.len()).map(object).collect::<PyResult<Vec<_>>>()?)
}
