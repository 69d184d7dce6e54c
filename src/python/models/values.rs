//! Values of all models: times, JSON, cached tuples, hashes.

use std::hash::{DefaultHasher, Hash, Hasher};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDateTime, PyTuple, PyTzInfo};
use pyo3::{PyClass, PyClassInitializer};
use serde::Serialize;
use serde_json::Value;

use crate::model::Timestamp;

/// Returns a time as a timezone-aware `datetime`. The service's seventh digit of a second is
/// dropped.
pub fn to_datetime<'py>(
    py: Python<'py>,
    time: Option<Timestamp>,
) -> PyResult<Option<Bound<'py, PyDateTime>>> {
    let Some(time) = time.map(Timestamp::datetime) else { return Ok(None) };
    // `datetime` has no other years.
    let year = time.year().clamp(1, 9999);
    let utc = PyTzInfo::utc(py)?;
    let (month, day) = (u8::from(time.month()), time.day());
    let (hour, minute, second, micro) =
        (time.hour(), time.minute(), time.second(), time.microsecond());
    PyDateTime::new(py, year, month, day, hour, minute, second, micro, Some(&utc)).map(Some)
}

/// Converts a serializable value to Python objects.
pub fn to_python_object<'py>(
    py: Python<'py>,
    value: &impl Serialize,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(pythonize::pythonize(py, value)?)
}

/// Parses the service's own JSON of a model.
pub fn parse_raw<'py>(py: Python<'py>, raw: &str) -> PyResult<Bound<'py, PyAny>> {
    let value: Value = serde_json::from_str(raw).unwrap_or_default();
    to_python_object(py, &value)
}

/// A tuple that is built when it is first read. Later reads return the same object.
pub struct LazyTuple(PyOnceLock<Py<PyTuple>>);

impl Default for LazyTuple {
    fn default() -> Self {
        Self(PyOnceLock::new())
    }
}

impl LazyTuple {
    pub fn get_or_build<'py, T: IntoPyObject<'py>>(
        &self,
        py: Python<'py>,
        build: impl FnOnce() -> PyResult<Vec<T>>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let tuple =
            self.0.get_or_try_init(py, || PyResult::Ok(PyTuple::new(py, build()?)?.unbind()))?;
        Ok(tuple.bind(py).clone())
    }
}

/// An object that is made when it is first read. Later reads return the same object.
pub struct LazyObject<T>(PyOnceLock<Option<Py<T>>>);

impl<T> Default for LazyObject<T> {
    fn default() -> Self {
        Self(PyOnceLock::new())
    }
}

impl<T: PyClass> LazyObject<T> {
    pub fn get_or_make<'py>(
        &self,
        py: Python<'py>,
        make: impl FnOnce() -> Option<T>,
    ) -> PyResult<Option<Bound<'py, T>>>
    where
        T: Into<PyClassInitializer<T>>,
    {
        let object =
            self.0.get_or_try_init(py, || make().map(|value| Py::new(py, value)).transpose())?;
        Ok(object.as_ref().map(|object| object.bind(py).clone()))
    }
}

/// Returns the hash of a key.
pub fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}
