//! What a caller does who passed a wrong type as an argument.

use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString, PyTuple,
    PyType,
};

use crate::python::gil_gate::enter;
use crate::python::models::{Machine, Rate};

/// What an argument is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Text,
    Path,
    /// Seconds and other numbers with a fraction.
    Number,
    WholeNumber,
    Machine,
    /// One Command or several.
    Commands,
    /// An iterable.
    List,
    Function,
    Other,
}

impl Shape {
    /// Returns what an item is, if this is a collection.
    pub fn of_item(self) -> Self {
        if self == Self::List { Self::Other } else { self }
    }
}

/// Returns what came: None, a class, or the type of an object.
pub fn describe(object: &Bound<'_, PyAny>) -> String {
    if object.is_none() {
        return "None".to_owned();
    }
    let name = |class: &Bound<'_, PyType>| {
        class.name().map_or_else(|_| "another type".to_owned(), |name| name.to_string())
    };
    match object.cast::<PyType>() {
        Ok(class) => format!("the class {}", name(class)),
        Err(_) => name(&object.get_type()),
    }
}

/// Returns what the caller can do, if the mistake is a common one.
pub fn advice(shape: Shape, object: &Bound<'_, PyAny>) -> Option<&'static str> {
    let _inside = enter(object.py());
    if object.is_none() {
        return None;
    }
    let is_class = object.is_instance_of::<PyType>();
    if !is_class && is_awaitable(object) {
        return Some("write `await` before the call that returned it");
    }
    if !is_class && shape != Shape::Function && object.is_callable() {
        return Some("call it and pass what it returns: add () after its name");
    }
    let is_text = object.is_instance_of::<PyString>();
    // Of the class: an attribute of the caller's object may be code.
    let has = |name| object.get_type().hasattr(name).unwrap_or(false);
    match shape {
        Shape::List if is_single(object) => Some("put it in a list: [...]"),
        Shape::Commands if is_text => {
            Some("make a Command of it, such as Command.run_script(\"triage.ps1\")")
        }
        Shape::Machine if is_several(object) => {
            Some("give one machine; run_many takes several machines")
        }
        Shape::Machine if has("machine_id") => Some("pass its `machine_id`"),
        Shape::Text if has("run_id") && !has("id") => Some("pass its `run_id`"),
        Shape::Text if has("id") => Some("pass its `id`"),
        Shape::Commands | Shape::List | Shape::Function => None,
        _ if is_several(object) => Some("give one value"),
        Shape::Text | Shape::Path | Shape::Machine if is_bytes(object) => {
            Some("make a str of it with .decode()")
        }
        Shape::Text | Shape::Machine if is_plain(object) => Some("make a str of it with str()"),
        Shape::Number if is_text => Some("make a number of it with float()"),
        Shape::WholeNumber if is_text => Some("make a number of it with int()"),
        _ => None,
    }
}

/// Returns whether the object is a coroutine or similar.
pub fn is_awaitable(object: &Bound<'_, PyAny>) -> bool {
    let _inside = enter(object.py());
    object.get_type().hasattr("__await__").unwrap_or(false)
}

/// Returns whether the object is one item where an iterable of them is wanted.
fn is_single(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyString>()
        || object.is_instance_of::<Machine>()
        || object.is_instance_of::<Rate>()
}

fn is_several(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyList>()
        || object.is_instance_of::<PyTuple>()
        || object.is_instance_of::<PyDict>()
        || object.is_instance_of::<PySet>()
        || object.is_instance_of::<PyFrozenSet>()
}

fn is_bytes(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>()
}

/// Returns whether `str()` gives the text that the caller means, as for a number or a UUID.
fn is_plain(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyInt>()
        || object.is_instance_of::<PyFloat>()
        || describe(object) == "UUID"
}
