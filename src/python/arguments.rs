//! What callers pass, as the core takes it.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::python::errors::to_pyerr;
use crate::python::files::sink::FileObjectSink;
use crate::python::models::{Command, Machine};
use crate::transfer::Target;

/// Of a file object that is uploaded.
const READ_CHUNK: u64 = 4 << 20;

/// `str | Machine`.
pub enum MachineArgument {
    Id(String),
    Name(String),
}

impl<'py> FromPyObject<'_, 'py> for MachineArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(machine) = object.cast::<Machine>() {
            return Ok(Self::Id(machine.get().id()));
        }
        let name: String = object
            .extract()
            .map_err(|_| type_error("machine", "a machine id, a name or a Machine", &object))?;
        let name = name.trim().to_owned();
        Ok(if crate::model::is_machine_id(&name) {
            Self::Id(name.to_ascii_lowercase())
        } else {
            Self::Name(name)
        })
    }
}

impl MachineArgument {
    /// The machine's id; a name is looked up.
    pub async fn resolve_id(self, pipeline: &Pipeline) -> Result<String> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Name(name) => Ok(pipeline.resolve_machine(&name).await?.id),
        }
    }
}

/// `Command | Sequence[Command]`.
pub struct CommandsArgument(pub Vec<crate::model::Command>);

impl<'py> FromPyObject<'_, 'py> for CommandsArgument {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(command) = object.cast::<Command>() {
            return Ok(Self(vec![command.get().core().clone()]));
        }
        let what = "a Command or a sequence of them";
        let items = object.try_iter().map_err(|_| type_error("commands", what, &object))?;
        let commands = items.map(|item| {
            let item = item?;
            let command =
                item.cast::<Command>().map_err(|_| type_error("commands", what, &item))?;
            Ok(command.get().core().clone())
        });
        commands.collect::<PyResult<_>>().map(Self)
    }
}

/// Seconds: a number that is not negative.
pub struct Seconds(pub f64);

impl<'py> FromPyObject<'_, 'py> for Seconds {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let seconds: f64 = object.extract()?;
        if seconds.is_nan() || seconds < 0.0 {
            let error = Error::invalid(format!("{seconds} is not a number of seconds"))
                .with_hint("give 0 or more, or None");
            return Err(to_pyerr(object.py(), error));
        }
        Ok(Self(seconds))
    }
}

/// `"raise" | "wait"`: whether to wait.
pub fn parse_on_busy(on_busy: &str) -> Result<bool> {
    match on_busy {
        "raise" => Ok(false),
        "wait" => Ok(true),
        _ => Err(Error::invalid(format!("on_busy is {on_busy:?}"))
            .with_hint("give \"raise\" or \"wait\"")),
    }
}

/// Where a download goes: a path, a folder that is there, or a file object.
pub fn download_target(to: &Bound<'_, PyAny>, index: u32) -> PyResult<Target> {
    if let Ok(path) = to.extract::<PathBuf>() {
        return Ok(match path.is_dir() {
            true => Target::Folder { folder: path, index: index as usize },
            false => Target::Path(path),
        });
    }
    if !to.hasattr("write")? {
        return Err(type_error("to", "a path or a binary file object", to));
    }
    Ok(Target::Sink(Box::new(FileObjectSink::new(to.clone().unbind()))))
}

/// What is uploaded: read here where it is in memory, later where it is on disk.
pub enum UploadContent {
    Bytes(Bytes),
    Path(PathBuf),
}

/// `str | PathLike | bytes | BinaryIO`, and the name that it has by itself. A file object is read until it is seen to hold
/// more than `max_size` bytes.
pub fn read_content(
    file: &Bound<'_, PyAny>,
    max_size: u64,
) -> PyResult<(UploadContent, Option<String>)> {
    if let Ok(bytes) = file.cast::<PyBytes>() {
        return Ok((UploadContent::Bytes(Bytes::copy_from_slice(bytes.as_bytes())), None));
    }
    if let Ok(path) = file.extract::<PathBuf>() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        return Ok((UploadContent::Path(path), name));
    }
    if !file.hasattr("read")? {
        return Err(type_error("file", "a path, bytes or a binary file object", file));
    }
    let bytes = read_file_object(file, max_size)?;
    let name = file.getattr("name").ok().and_then(|name| name.cast_into::<PyString>().ok());
    let name = name.and_then(|name| {
        PathBuf::from(name.to_string()).file_name().map(|name| name.to_string_lossy().into())
    });
    Ok((UploadContent::Bytes(bytes), name))
}

fn read_file_object(file: &Bound<'_, PyAny>, max_size: u64) -> PyResult<Bytes> {
    let mut all = BytesMut::new();
    while all.len() as u64 <= max_size {
        let missing = max_size.saturating_add(1) - all.len() as u64;
        // A raw file may give less than all.
        let read = file.call_method1("read", (missing.min(READ_CHUNK),))?;
        let read = read
            .cast::<PyBytes>()
            .map_err(|_| type_error("file", "a file opened in binary mode", file))?;
        if read.as_bytes().is_empty() {
            break;
        }
        all.extend_from_slice(read.as_bytes());
    }
    Ok(all.freeze())
}

fn type_error(argument: &str, wanted: &str, got: &Bound<'_, PyAny>) -> PyErr {
    let got = got.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    PyTypeError::new_err(format!("{argument} takes {wanted}, not {got}"))
}
