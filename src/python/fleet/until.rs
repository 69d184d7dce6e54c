//! Conversion of the argument `until`.

use pyo3::prelude::*;
use pyo3::types::{PyDateTime, PyTzInfoAccess};

use crate::clock::Clock;
use crate::error::Error;
use crate::fleet::Until;
use crate::python::gil_gate::enter;
use crate::python::seconds::read_seconds;

/// `float | timedelta | datetime`: a duration from now on, or a time with its zone.
pub struct UntilArgument(pub Until);

impl<'py> FromPyObject<'_, 'py> for UntilArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let _inside = enter(object.py());
        let until = match object.cast::<PyDateTime>() {
            Ok(time) if time.get_tzinfo().is_none() => {
                let error = Error::invalid("until is a datetime without a time zone");
                let hint = "give it one: datetime.now(timezone.utc) + timedelta(days=3)";
                return Err(error.with_hint(hint).into());
            }
            Ok(time) => Until::At(time.call_method0("timestamp")?.extract()?),
            Err(_) => Until::After(read_seconds(&object)?),
        };
        // Checked now, before any request.
        until.resolve(Clock::new().now())?;
        Ok(Self(until))
    }
}
