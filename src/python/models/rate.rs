//! `Rate`.

use pyo3::prelude::*;

use super::json_ready::{JsonReady, json_dict};
use super::values;
use crate::config;
use crate::python::arguments::{Argument, Refusal, Shape, named, read_items};

/// At most `count` calls in any window of `per` seconds (a sliding window).
///
/// Args:
///     count: calls, at least 1.
///     per: seconds or a timedelta, more than 0.
///
/// Raises:
///     InvalidRequestError: a value is out of bounds.
#[pyclass(frozen, eq, module = "mde_live_response", skip_from_py_object)]
#[derive(Clone, PartialEq)]
pub struct Rate(pub config::Rate);

json_dict! { config::Rate, |rate| { "count": rate.count, "per": rate.per } }

/// `Sequence[Rate]`.
impl<'a, 'py> Argument<'a, 'py> for Vec<Rate> {
    const TAKES: &'static str = "a sequence of Rates";
    const SHAPE: Shape = Shape::List;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let rates = read_items(object)?.into_iter().map(|item| match item.cast::<Rate>() {
            Ok(rate) => Ok(rate.get().clone()),
            Err(_) => Err(Refusal::Item(item)),
        });
        rates.collect()
    }
}

#[pymethods]
impl Rate {
    #[new]
    fn new(
        #[pyo3(from_py_with = named::count)] count: i64,
        #[pyo3(from_py_with = named::per)] per: f64,
    ) -> PyResult<Self> {
        // A count that does not fit becomes 0, which the check refuses.
        let count = u32::try_from(count).unwrap_or_default();
        Ok(Self(config::Rate::new(count, per)?))
    }

    /// The number of calls.
    #[getter]
    fn count(&self) -> u32 {
        self.0.count
    }

    /// The window in seconds.
    #[getter]
    fn per(&self) -> f64 {
        self.0.per
    }

    /// Return the attributes as a JSON-ready dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.0.to_json_ready(py)
    }

    fn __hash__(&self) -> u64 {
        values::hash_of(&(self.0.count, self.0.per.to_bits()))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyAny>, (u32, f64)) {
        let rate = slf.get();
        (slf.get_type().into_any(), (rate.0.count, rate.0.per))
    }

    fn __repr__(&self) -> String {
        format!("Rate({}, {})", self.0.count, self.0.per)
    }
}
