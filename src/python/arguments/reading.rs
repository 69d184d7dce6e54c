//! How an argument is read. A wrong type is a TypeError, a wrong value an InvalidRequestError.
//! Both name the argument.

use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::advice::{Shape, advice, describe};
use crate::error::Error;
use crate::python::gil_gate::enter;

/// A type that an argument of a public call has.
pub trait Argument<'a, 'py>: Sized {
    /// What the argument takes, as in "comment takes a str".
    const TAKES: &'static str;
    /// What the argument is, for the advice to a caller who passes something else.
    const SHAPE: Shape;
    /// Whether the argument also takes None.
    const OPTIONAL: bool = false;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>>;
}

/// Why an argument is refused.
pub enum Refusal<'py> {
    /// It has a type that the argument does not take.
    Type,
    /// One of its items has such a type.
    Item(Bound<'py, PyAny>),
    /// Its value is wrong: the text after the argument's name, and the hint.
    Value(String, &'static str),
    /// The caller's code or a check of the core raised this.
    Raised(PyErr),
}

impl From<PyErr> for Refusal<'_> {
    fn from(error: PyErr) -> Self {
        Self::Raised(error)
    }
}

impl From<Error> for Refusal<'_> {
    fn from(error: Error) -> Self {
        Self::Raised(error.into())
    }
}

impl Refusal<'_> {
    /// Returns the refusal for an error of a conversion: a TypeError means a wrong type.
    pub fn from_conversion(py: Python<'_>, error: PyErr) -> Self {
        if error.is_instance_of::<PyTypeError>(py) { Self::Type } else { Self::Raised(error) }
    }
}

/// Reads the argument `name`.
pub fn read<'a, 'py, T: Argument<'a, 'py>>(
    name: &str,
    object: &'a Bound<'py, PyAny>,
) -> PyResult<T> {
    T::read(object).map_err(|refusal| {
        let takes = match T::OPTIONAL {
            false => T::TAKES.to_owned(),
            true if T::TAKES.contains(" or ") => format!("{}, or None", T::TAKES),
            true => format!("{} or None", T::TAKES),
        };
        refusal_error(name, &takes, T::SHAPE, object, refusal)
    })
}

/// Returns the exception for a refused argument. It has the types of what came, never a value of
/// a wrong type, which may be a secret.
#[cold]
fn refusal_error(
    name: &str,
    takes: &str,
    shape: Shape,
    object: &Bound<'_, PyAny>,
    refusal: Refusal<'_>,
) -> PyErr {
    let (came, advice) = match refusal {
        Refusal::Raised(error) => return error,
        Refusal::Value(wrong, hint) => {
            return Error::invalid(format!("{name} {wrong}")).with_hint(hint).into();
        }
        Refusal::Type => (describe(object), advice(shape, object)),
        Refusal::Item(item) => {
            (format!("{} of {}", describe(object), describe(&item)), advice(shape.of_item(), &item))
        }
    };
    let hint = advice.map(|advice| format!(". Hint: {advice}")).unwrap_or_default();
    PyTypeError::new_err(format!("{name} takes {takes}, not {came}{hint}"))
}

impl<'a, 'py, T: Argument<'a, 'py>> Argument<'a, 'py> for Option<T> {
    const TAKES: &'static str = T::TAKES;
    const SHAPE: Shape = T::SHAPE;
    const OPTIONAL: bool = true;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        if object.is_none() { Ok(None) } else { T::read(object).map(Some) }
    }
}

impl<'a, 'py> Argument<'a, 'py> for &'a str {
    const TAKES: &'static str = "a str";
    const SHAPE: Shape = Shape::Text;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let text = object.cast::<PyString>().map_err(|_| Refusal::Type)?;
        text.to_str().map_err(|_| {
            Refusal::Value(
                "has half of a surrogate pair, which is no character".to_owned(),
                "the text was read with a wrong encoding, or as file names are: see os.fsencode",
            )
        })
    }
}

impl<'a, 'py> Argument<'a, 'py> for String {
    const TAKES: &'static str = <&'a str>::TAKES;
    const SHAPE: Shape = Shape::Text;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        <&'a str>::read(object).map(str::to_owned)
    }
}

impl<'a, 'py> Argument<'a, 'py> for bool {
    const TAKES: &'static str = "True or False";
    const SHAPE: Shape = Shape::Other;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        object.extract().map_err(|_| Refusal::Type)
    }
}

/// A number that does not fit becomes the nearest that does: the caller checks the bounds.
impl<'a, 'py> Argument<'a, 'py> for i64 {
    const TAKES: &'static str = "an int";
    const SHAPE: Shape = Shape::WholeNumber;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let py = object.py();
        let _inside = enter(py);
        match object.extract() {
            Ok(number) => Ok(number),
            Err(error) if error.is_instance_of::<PyOverflowError>(py) => {
                Ok(if object.lt(0)? { Self::MIN } else { Self::MAX })
            }
            Err(error) => Err(Refusal::from_conversion(py, error)),
        }
    }
}
