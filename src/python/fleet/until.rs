//! Conversion of the argument `until`.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTzInfoAccess};

use crate::clock::Clock;
use crate::error::Error;
use crate::fleet::Until;
use crate::python::arguments::{Argument, Refusal, Shape};
use crate::python::gil_gate::enter;

/// `float | timedelta | datetime`: a duration from now on, or a time with its zone.
pub struct UntilArgument(pub Until);

impl<'a, 'py> Argument<'a, 'py> for UntilArgument {
    const TAKES: &'static str = "seconds, a timedelta or a datetime";
    const SHAPE: Shape = Shape::Number;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let _inside = enter(object.py());
        // The cast panics if the module cannot be loaded, such as without a free file handle.
        object.py().import("datetime")?;
        let until = match object.cast::<PyDateTime>() {
            Ok(time) if time.get_tzinfo().is_none() => {
                let error = Error::invalid("until is a datetime without a time zone");
                let hint = "give it one: datetime.now(timezone.utc) + timedelta(days=3)";
                return Err(error.with_hint(hint).into());
            }
            Ok(time) => Until::At(time.call_method0("timestamp")?.extract()?),
            Err(_) => Until::After(f64::read(object)?),
        };
        // Checked now, before any request.
        until.resolve(Clock::new().now())?;
        Ok(Self(until))
    }
}
