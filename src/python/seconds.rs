//! Conversion of durations: seconds or a `timedelta`.

use pyo3::prelude::*;
use pyo3::types::PyDelta;

use crate::error::Error;
use crate::python::errors::type_error;
use crate::python::gil_gate::enter;

/// Reads seconds or a `timedelta` as seconds. Accepts any number: the caller checks the bounds.
pub fn read_seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let _inside = enter(value.py());
    if let Ok(delta) = value.cast::<PyDelta>() {
        return delta.call_method0("total_seconds")?.extract();
    }
    value.extract().map_err(|_| type_error("a duration", "seconds or a timedelta", value))
}

/// Reads seconds or a `timedelta` as seconds, 0 or more.
pub fn read_wait_seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    let seconds = read_seconds(value)?;
    if seconds.is_nan() || seconds < 0.0 {
        let error = Error::invalid(format!("{seconds} is not a number of seconds"));
        return Err(error.with_hint("give 0 or more, or None").into());
    }
    Ok(seconds)
}

/// `float | timedelta`: seconds, 0 or more.
pub struct Seconds(pub f64);

impl<'py> FromPyObject<'_, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        read_wait_seconds(&object).map(Self)
    }
}
