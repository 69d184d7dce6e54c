//! Conversion of arguments: what to upload, and where to save a download.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error::{Error, Result};
use crate::python::errors::type_error;
use crate::python::files::sink::FileObjectSink;
use crate::python::gil_gate::{call_python, enter};
use crate::python::paths::{PathArgument, read_path};
use crate::session::SaveTo;
use crate::transfer::Target;

/// Bytes that one `read` of a file object asks for.
const READ_CHUNK: u64 = 4 << 20;

/// Returns the target of a download: a path, an existing folder or a file object.
pub fn download_target(to: &Bound<'_, PyAny>, index: u32) -> PyResult<Target> {
    let _inside = enter(to.py());
    if let Ok(path) = read_path(to) {
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

/// Returns where to save the results of sessions.
pub fn save_target(folder: Option<PathArgument>, transcripts: bool) -> Result<Option<SaveTo>> {
    if transcripts && folder.is_none() {
        return Err(Error::invalid("save_transcripts=True needs save_to=")
            .with_hint("give the folder for the transcripts"));
    }
    if folder.as_ref().is_some_and(|folder| folder.0.as_os_str().is_empty()) {
        return Err(Error::invalid("save_to is an empty path")
            .with_hint("give a folder; \".\" is the current one"));
    }
    Ok(folder.map(|folder| SaveTo { folder: folder.0, transcripts }))
}

/// The content of an upload. A file on disk is read later, while it is sent.
pub enum UploadContent {
    Bytes(Bytes),
    Path(PathBuf),
}

/// Reads `str | PathLike | bytes | BinaryIO`. Returns the content and its own file name, if
/// any.
///
/// Reading a file object stops once it has returned more than `max_size` bytes.
pub fn read_content(
    file: &Bound<'_, PyAny>,
    max_size: u64,
) -> PyResult<(UploadContent, Option<String>)> {
    let _inside = enter(file.py());
    if let Ok(bytes) = file.cast::<PyBytes>() {
        return Ok((UploadContent::Bytes(Bytes::copy_from_slice(bytes.as_bytes())), None));
    }
    if let Ok(path) = read_path(file) {
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
    let _inside = enter(file.py());
    let read = file.getattr("read")?;
    let mut all = BytesMut::new();
    while all.len() as u64 <= max_size {
        // One byte more than allowed, so that the size check sees a file that is too large.
        let missing = max_size.saturating_add(1) - all.len() as u64;
        // A raw file may return less than it was asked for: only an empty read is the end.
        let bytes = call_python(&read, (missing.min(READ_CHUNK),))?;
        let bytes = bytes
            .cast::<PyBytes>()
            .map_err(|_| type_error("file", "a file opened in binary mode", file))?;
        if bytes.as_bytes().is_empty() {
            break;
        }
        all.extend_from_slice(bytes.as_bytes());
    }
    Ok(all.freeze())
}
