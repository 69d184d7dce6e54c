//! What a `Command` is made from: local files, arguments, its pickled form.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};

use crate::error::{Error, Result};
use crate::library::irregular_file;
use crate::model::{self, LocalContent, encode_json, quote_args};
use crate::python::convert::IntoPython;
use crate::python::gil_gate::{call_python, enter};

/// Bytes of a local file that are read at most. No library takes a file of this size.
const MAX_LOCAL_SIZE: u64 = 1 << 30;

/// Reads a file that a command takes along.
pub fn read_file(path: &Path) -> Result<LocalContent> {
    let failed = |error| Error::io("read", path, error);
    let metadata = path.metadata().map_err(failed)?;
    // To open a pipe would wait for its writer, and a device may never end.
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(irregular_file(path));
    }
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    let mut size = metadata.len();
    if size <= MAX_LOCAL_SIZE {
        // It may grow meanwhile.
        file.take(MAX_LOCAL_SIZE + 1).read_to_end(&mut content).map_err(failed)?;
        size = content.len() as u64;
    }
    if size > MAX_LOCAL_SIZE {
        let message = format!("{} has more than {MAX_LOCAL_SIZE} bytes", path.display());
        return Err(Error::invalid(message)
            .with_hint("the library takes at most Limits.upload_size bytes, 20 MB by default"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    LocalContent::new(&name, content)
}

/// Reads `str | Sequence[str] | Mapping[str, Any] | None`: the `Args` to send.
pub fn read_args(script_name: &str, args: Option<&Bound<'_, PyAny>>) -> PyResult<Option<String>> {
    let Some(args) = args else { return Ok(None) };
    // A str is also a sequence of str, so it is checked first.
    if let Ok(text) = args.cast::<PyString>() {
        return Ok(Some(text.to_cow()?.into_owned()));
    }
    if let Ok(mapping) = args.cast::<PyMapping>() {
        return json_of(mapping).map(|json| Some(encode_json(&json)));
    }
    let list: Vec<String> = args
        .extract()
        .map_err(|_| PyTypeError::new_err("args takes a str, a sequence of str, or a mapping"))?;
    Ok(quote_args(script_name, &list))
}

/// Returns a mapping as JSON. Equal mappings give equal JSON, so that a repeated submit has the
/// same arguments.
fn json_of(mapping: &Bound<'_, PyMapping>) -> PyResult<String> {
    let py = mapping.py();
    let dict = call_python(py.get_type::<PyDict>().as_any(), (mapping,))?;
    let _inside = enter(py);
    let options = PyDict::new(py);
    options.set_item("sort_keys", true)?;
    options.set_item("ensure_ascii", false)?;
    options.set_item("allow_nan", false)?;
    options.set_item("separators", (",", ":"))?;
    let json = py.import("json")?.call_method("dumps", (dict,), Some(&options));
    let json = json.map_err(|error| match error.is_instance_of::<PyValueError>(py) {
        true => Error::invalid(format!("the arguments cannot be written as JSON: {error}")).into(),
        false => error,
    })?;
    json.extract()
}

/// Returns the pickled form: a line of JSON, then the name and the content of a local file.
pub fn pickled(command: &model::Command) -> PyResult<Vec<u8>> {
    let mut state =
        serde_json::to_vec(command).map_err(|error| PyValueError::new_err(error.to_string()))?;
    if let Some(content) = command.content() {
        state.push(b'\n');
        state.extend_from_slice(content.file_name.as_bytes());
        state.push(b'\n');
        state.extend_from_slice(&content.bytes);
    }
    Ok(state)
}

/// Makes a command from its pickled form.
pub fn restore(py: Python<'_>, state: &[u8]) -> PyResult<Py<PyAny>> {
    let mut parts = state.splitn(3, |byte| *byte == b'\n');
    let invalid = |error: &dyn std::fmt::Display| PyValueError::new_err(error.to_string());
    let json = parts.next().unwrap_or_default();
    let mut command: model::Command =
        serde_json::from_slice(json).map_err(|error| invalid(&error))?;
    if let (Some(name), Some(content)) = (parts.next(), parts.next()) {
        let name = std::str::from_utf8(name).map_err(|error| invalid(&error))?;
        let content = LocalContent::new(name, Bytes::copy_from_slice(content))?;
        command = command.with_content(content);
    }
    command.into_python(py)
}
