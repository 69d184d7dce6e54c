//! Writes models as JSON-ready dicts, straight from the core's values.

use std::path::Path;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyDateTime, PyDict, PyFloat, PyList, PyString};

use super::values;
use crate::error::Error;
use crate::model::Timestamp;
use crate::python::errors::to_exception_object;
use crate::python::gil_gate::enter;

/// A value of the core that has a JSON-ready form: what `json.dumps` accepts.
pub trait JsonReady {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>>;
}

/// The keys of one kind of dict. They are made once.
pub struct DictKeys {
    names: &'static [&'static str],
    made: PyOnceLock<(Vec<Py<PyString>>, Py<PyDict>)>,
}

impl DictKeys {
    pub const fn new(names: &'static [&'static str]) -> Self {
        Self { names, made: PyOnceLock::new() }
    }

    /// Makes a dict of the values, which are in the order of the names.
    pub fn to_dict<'py>(
        &self,
        py: Python<'py>,
        values: &[&dyn JsonReady],
    ) -> PyResult<Bound<'py, PyAny>> {
        let (keys, empty) = self.made.get_or_try_init(py, || self.make(py))?;
        // A copy has its full size from the start.
        let dict = empty.bind(py).copy()?;
        for (key, value) in keys.iter().zip(values) {
            dict.set_item(key, value.to_json_ready(py)?)?;
        }
        Ok(dict.into_any())
    }

    fn make(&self, py: Python<'_>) -> PyResult<(Vec<Py<PyString>>, Py<PyDict>)> {
        let keys: Vec<_> = self.names.iter().map(|name| PyString::intern(py, name)).collect();
        let empty = PyDict::new(py);
        keys.iter().try_for_each(|key| empty.set_item(key, py.None()))?;
        Ok((keys.into_iter().map(Bound::unbind).collect(), empty.unbind()))
    }
}

/// Lets a core value become a dict: `name: value` for each entry, in order.
macro_rules! json_dict {
    ($core:ty, |$value:ident| { $($name:literal: $entry:expr),* $(,)? }) => {
        impl $crate::python::models::json_ready::JsonReady for $core {
            fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                use $crate::python::models::json_ready::DictKeys;

                static KEYS: DictKeys = DictKeys::new(&[$($name),*]);
                let $value = self;
                KEYS.to_dict(py, &[$(&$entry),*])
            }
        }
    };
}

pub(crate) use json_dict;

/// Makes a list of JSON-ready values.
pub fn to_list<'py, T: JsonReady>(
    py: Python<'py>,
    items: impl IntoIterator<Item = T>,
) -> PyResult<Bound<'py, PyAny>> {
    let items = items.into_iter().map(|item| item.to_json_ready(py));
    Ok(PyList::new(py, items.collect::<PyResult<Vec<_>>>()?)?.into_any())
}

impl<T: JsonReady + ?Sized> JsonReady for &T {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        T::to_json_ready(self, py)
    }
}

impl<T: JsonReady> JsonReady for Arc<T> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        T::to_json_ready(self, py)
    }
}

impl<T: JsonReady> JsonReady for Option<T> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.as_ref().map_or_else(|| Ok(py.None().into_bound(py)), |value| value.to_json_ready(py))
    }
}

impl<T: JsonReady> JsonReady for [T] {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_list(py, self)
    }
}

impl<T: JsonReady> JsonReady for Vec<T> {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_list(py, self)
    }
}

impl JsonReady for str {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyString::new(py, self).into_any())
    }
}

impl JsonReady for String {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.as_str().to_json_ready(py)
    }
}

impl JsonReady for bool {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyBool::new(py, *self).to_owned().into_any())
    }
}

impl JsonReady for f64 {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        Ok(PyFloat::new(py, *self).into_any())
    }
}

macro_rules! json_ready_integers {
    ($($integer:ty),*) => {
        $(impl JsonReady for $integer {
            fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
                Ok(self.into_pyobject(py)?.into_any())
            }
        })*
    };
}

json_ready_integers!(u32, u64, i64);

impl JsonReady for Timestamp {
    /// Python 3.10's `fromisoformat` takes neither seven digits nor a Z.
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let time = self.datetime();
        let (year, month, day) = time.to_calendar_date();
        if !(1..=9999).contains(&year) {
            // `datetime` has no such year: what it makes of it counts.
            let _inside = enter(py);
            let time: Option<Bound<'py, PyDateTime>> = values::to_datetime(py, Some(*self))?;
            let options = PyDict::new(py);
            options.set_item("timespec", "microseconds")?;
            return time.into_pyobject(py)?.call_method("isoformat", (), Some(&options));
        }
        let mut text = *b"0000-00-00T00:00:00.000000+00:00";
        for (place, number) in [
            (0..4, year.unsigned_abs()),
            (5..7, u32::from(u8::from(month))),
            (8..10, u32::from(day)),
            (11..13, u32::from(time.hour())),
            (14..16, u32::from(time.minute())),
            (17..19, u32::from(time.second())),
            (20..26, time.microsecond()),
        ] {
            write_digits(text.get_mut(place).unwrap_or_default(), number);
        }
        std::str::from_utf8(&text).unwrap_or_default().to_json_ready(py)
    }
}

fn write_digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

impl JsonReady for Path {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _inside = enter(py);
        // As `pathlib` writes it, because the attribute is one of its paths.
        Ok(self.into_pyobject(py)?.str()?.into_any())
    }
}

impl JsonReady for Error {
    fn to_json_ready<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let _inside = enter(py);
        let exception = to_exception_object(py, self).into_bound(py);
        if exception.hasattr("to_dict")? {
            return exception.call_method0("to_dict");
        }
        let dict = PyDict::new(py);
        dict.set_item("message", exception.str()?)?;
        Ok(dict.into_any())
    }
}
