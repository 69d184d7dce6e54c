//! Conversion of the core's values into Python objects.

use pyo3::prelude::*;
use pyo3::types::PyTuple;

/// A value of the core that has a Python form.
pub trait IntoPython: Send + Sized + 'static {
    /// Makes the Python object. Consumes the value, so that large content is moved, not copied.
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;

    /// Makes the tuple of a list.
    fn list_into_python(values: Vec<Self>, py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
        let items =
            values.into_iter().map(|value| value.into_python(py)).collect::<PyResult<Vec<_>>>()?;
        PyTuple::new(py, items)
    }
}

impl IntoPython for () {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

impl<T: IntoPython> IntoPython for Option<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.map_or_else(|| Ok(py.None()), |value| value.into_python(py))
    }
}

/// A sequence becomes a tuple: every sequence of the public interface is immutable.
impl<T: IntoPython> IntoPython for Vec<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(T::list_into_python(self, py)?.into_any().unbind())
    }
}
