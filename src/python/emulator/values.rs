//! Reads the arguments of `EmulatorServer`, which the Python class has checked for the most part,
//! and writes what it returns.

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde_json::{Map, Value};

use crate::emulator::{Content, Emulator, LoggedRequest, check_property_names};
use crate::error::Result;
use crate::python::paths::read_path;

/// Returns the content of a file from bytes or from the path of a local file.
pub fn content(content: &Bound<'_, PyAny>) -> PyResult<Content> {
    if let Ok(bytes) = content.cast::<PyBytes>() {
        return Ok(Content::Bytes(Bytes::copy_from_slice(bytes.as_bytes())));
    }
    let Ok(path) = read_path(content) else {
        return Err(PyTypeError::new_err("content is bytes or a path"));
    };
    // The file is read when it is collected. A missing one raises now.
    path.metadata()?;
    Ok(Content::Path(path))
}

/// Returns the id of a machine, if given, and its other properties.
pub fn machine_properties(text: &str) -> Result<(Option<String>, Map<String, Value>)> {
    let mut properties: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    check_property_names(&properties)?;
    let id = properties.get("id").and_then(Value::as_str).map(str::to_owned);
    if id.is_some() {
        properties.remove("id");
    }
    Ok((id, properties))
}

/// Returns the request log as JSON.
pub fn requests(emulator: &Emulator) -> String {
    let entries: Vec<Value> = emulator.requests().iter().map(LoggedRequest::to_json).collect();
    Value::from(entries).to_string()
}

/// Returns the calls that ended since this was last called, as JSON. The first call starts that.
pub fn take_calls(emulator: &Emulator) -> String {
    emulator.follow_calls();
    serde_json::json!(emulator.take_calls()).to_string()
}
