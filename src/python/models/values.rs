//! Values that all models share: times, JSON, equality.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTzInfo};
use serde::Serialize;
use serde_json::Value;

use crate::model::Timestamp;

/// A time as a timezone-aware `datetime`. Python's has microseconds; the seventh digit is in `raw`.
pub fn to_datetime<'py>(
    py: Python<'py>,
    time: Option<Timestamp>,
) -> PyResult<Option<Bound<'py, PyDateTime>>> {
    let Some(time) = time.map(Timestamp::datetime) else { return Ok(None) };
    let year = time.year().clamp(1, 9999);
    let utc = PyTzInfo::utc(py)?;
    let (month, day) = (u8::from(time.month()), time.day());
    let (hour, minute, second, micro) =
        (time.hour(), time.minute(), time.second(), time.microsecond());
    PyDateTime::new(py, year, month, day, hour, minute, second, micro, Some(&utc)).map(Some)
}

/// JSON as Python objects.
pub fn to_python_object<'py>(
    py: Python<'py>,
    value: &impl Serialize,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(pythonize::pythonize(py, value)?)
}

/// The service's own JSON, whole.
pub fn parse_raw<'py>(py: Python<'py>, raw: &str) -> PyResult<Bound<'py, PyAny>> {
    let value: Value = serde_json::from_str(raw).unwrap_or_default();
    to_python_object(py, &value)
}

/// A model's own JSON: its attributes by their names.
pub fn to_attributes(model: &impl Serialize) -> Value {
    let mut value = serde_json::to_value(model).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.remove("_raw");
    }
    value
}

/// Whether two models of one class hold the same.
pub fn is_equal<T: Serialize>(one: &T, other: &T) -> bool {
    match (serde_json::to_value(one), serde_json::to_value(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
