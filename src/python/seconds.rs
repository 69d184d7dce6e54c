//! Conversion of durations: seconds or a `timedelta`.

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::types::PyDelta;

use crate::error::Error;
use crate::python::arguments::{Argument, Refusal, Shape};
use crate::python::gil_gate::enter;

/// Seconds: any number, the caller checks the bounds. One that is too large is infinite.
impl<'a, 'py> Argument<'a, 'py> for f64 {
    const TAKES: &'static str = "seconds or a timedelta";
    const SHAPE: Shape = Shape::Number;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let py = object.py();
        let _inside = enter(py);
        let error = match object.extract() {
            Ok(seconds) => return Ok(seconds),
            Err(error) => error,
        };
        if error.is_instance_of::<PyOverflowError>(py) {
            return Ok(if object.lt(0)? { Self::NEG_INFINITY } else { Self::INFINITY });
        }
        // The cast panics if the module cannot be loaded, such as without a free file handle.
        py.import("datetime")?;
        match object.cast::<PyDelta>() {
            Ok(delta) => Ok(delta.call_method0("total_seconds")?.extract()?),
            Err(_) => Err(Refusal::from_conversion(py, error)),
        }
    }
}

/// `float | timedelta`: seconds, 0 or more.
pub struct Seconds(pub f64);

impl<'a, 'py> Argument<'a, 'py> for Seconds {
    const TAKES: &'static str = f64::TAKES;
    const SHAPE: Shape = f64::SHAPE;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let seconds = f64::read(object)?;
        match wait_seconds_problem(seconds) {
            Some(wrong) => Err(Refusal::Value(wrong, WAIT_SECONDS_HINT)),
            None => Ok(Self(seconds)),
        }
    }
}

const WAIT_SECONDS_HINT: &str = "give 0 or more";

fn wait_seconds_problem(seconds: f64) -> Option<String> {
    (seconds.is_nan() || seconds < 0.0)
        .then(|| format!("is {seconds}, which is not a number of seconds"))
}

/// Returns seconds that are 0 or more. For an argument whose default is a number.
pub fn check_wait_seconds(name: &str, seconds: f64) -> crate::error::Result<f64> {
    match wait_seconds_problem(seconds) {
        Some(wrong) => Err(Error::invalid(format!("{name} {wrong}")).with_hint(WAIT_SECONDS_HINT)),
        None => Ok(seconds),
    }
}
