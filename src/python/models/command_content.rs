//! What a `Command` is made from: local files, arguments, its pickled form.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMapping, PySequence, PyString};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::library::irregular_file;
use crate::model::{self, LocalContent, encode_json, quote_args};
use crate::python::arguments::{Argument, Refusal, Shape};
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

/// `str | Sequence[str] | Mapping[str, Any]`: the arguments of a script.
pub enum ScriptArgs {
    /// Sent unchanged.
    Text(String),
    /// Quoted for the script's shell.
    List(Vec<String>),
}

impl<'a, 'py> Argument<'a, 'py> for ScriptArgs {
    const TAKES: &'static str = "a str, a sequence of str, or a mapping";
    const SHAPE: Shape = Shape::List;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        // A str is also a sequence of str, so it is checked first.
        if object.is_instance_of::<PyString>() {
            return String::read(object).map(Self::Text);
        }
        if let Ok(mapping) = object.cast::<PyMapping>() {
            return Ok(Self::Text(encode_json(&json_of(mapping)?)));
        }
        // The usual case, which needs no copy.
        if let Ok(list) = object.extract() {
            return Ok(Self::List(list));
        }
        let items = object.cast::<PySequence>().map_err(|_| Refusal::Type)?;
        if object.is_instance_of::<PyBytes>() || object.is_instance_of::<PyByteArray>() {
            return Err(Refusal::Type);
        }
        let item_text = |item: Bound<'py, PyAny>| match String::read(&item) {
            Err(Refusal::Type) => Err(Refusal::Item(item.clone())),
            read => read,
        };
        let list = items.to_list()?.into_iter().map(item_text);
        list.collect::<Result<_, _>>().map(Self::List)
    }
}

impl ScriptArgs {
    /// Returns the `Args` to send to a script, if any.
    pub fn for_script(self, script_name: &str) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::List(list) => quote_args(script_name, &list),
        }
    }
}

/// A command as the service's JSON.
pub struct WireArgument(pub Value);

impl<'a, 'py> Argument<'a, 'py> for WireArgument {
    const TAKES: &'static str = "a mapping, as to_dict returns it";
    const SHAPE: Shape = Shape::Other;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let _inside = enter(object.py());
        let mapping = object.cast::<PyMapping>().map_err(|_| Refusal::Type)?;
        pythonize::depythonize(mapping.as_any()).map(Self).map_err(|error| {
            let wrong = format!("is not a live response command: {error}");
            Refusal::Value(wrong, "give the dict that to_dict returned")
        })
    }
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
        true => Error::invalid(format!("args cannot be written as JSON: {error}")).into(),
        false if error.is_instance_of::<PyTypeError>(py) => {
            PyTypeError::new_err(format!("args cannot be written as JSON: {}", error.value(py)))
        }
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
