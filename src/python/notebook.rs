//! `_repr_html_`, by which a notebook shows an object: the package `display` makes the HTML.

use pyo3::PyClass;
use pyo3::prelude::*;

use crate::python::gil_gate::enter;

pub fn to_html<'py, T: PyClass>(object: Bound<'py, T>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let _inside = enter(py);
    py.import("mde_live_response.display.cards")?.call_method1("to_html", (object,))
}
