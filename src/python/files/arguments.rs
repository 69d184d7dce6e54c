//! Conversion of arguments: what to upload, and where to save a download.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::error::{Error, Result};
use crate::python::arguments::{Argument, Refusal, Shape};
use crate::python::files::sink::FileObjectSink;
use crate::python::gil_gate::{call_python, enter};
use crate::python::paths::PathArgument;
use crate::session::SaveTo;
use crate::transfer::Target;

/// Bytes that one `read` of a file object asks for.
const READ_CHUNK: u64 = 4 << 20;

/// Where a download goes: a path, an existing folder or a file object.
pub enum DownloadTo {
    Path(PathBuf),
    FileObject(Py<PyAny>),
}

impl<'a, 'py> Argument<'a, 'py> for DownloadTo {
    const TAKES: &'static str = "a path or a binary file object";
    const SHAPE: Shape = Shape::Path;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let _inside = enter(object.py());
        match PathArgument::read(object) {
            Ok(path) => Ok(Self::Path(path.0)),
            Err(Refusal::Type) if object.hasattr("write")? => {
                Ok(Self::FileObject(object.clone().unbind()))
            }
            Err(refusal) => Err(refusal),
        }
    }
}

impl DownloadTo {
    /// Returns the target for the result of the command at `index`.
    pub fn into_target(self, index: u32) -> Target {
        match self {
            Self::Path(folder) if folder.is_dir() => {
                Target::Folder { folder, index: index as usize }
            }
            Self::Path(path) => Target::Path(path),
            Self::FileObject(object) => Target::Sink(Box::new(FileObjectSink::new(object))),
        }
    }
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

/// `str | PathLike | bytes | BinaryIO`: what to upload.
pub enum UploadFile<'py> {
    Content(UploadContent),
    FileObject(Bound<'py, PyAny>),
}

impl<'a, 'py> Argument<'a, 'py> for UploadFile<'py> {
    const TAKES: &'static str = "a path, bytes or a binary file object";
    const SHAPE: Shape = Shape::Path;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let _inside = enter(object.py());
        if let Ok(bytes) = object.cast::<PyBytes>() {
            let bytes = Bytes::copy_from_slice(bytes.as_bytes());
            return Ok(Self::Content(UploadContent::Bytes(bytes)));
        }
        match PathArgument::read(object) {
            Ok(path) => Ok(Self::Content(UploadContent::Path(path.0))),
            Err(Refusal::Type) if object.hasattr("read")? => Ok(Self::FileObject(object.clone())),
            Err(refusal) => Err(refusal),
        }
    }
}

impl UploadFile<'_> {
    /// Returns the content and its own file name, if any.
    ///
    /// Reading a file object stops once it has returned more than `max_size` bytes.
    pub fn load(self, max_size: u64) -> PyResult<(UploadContent, Option<String>)> {
        let file_name = |path: &Path| path.file_name().map(|it| it.to_string_lossy().into_owned());
        let file = match self {
            Self::Content(UploadContent::Path(path)) => {
                let name = file_name(&path);
                return Ok((UploadContent::Path(path), name));
            }
            Self::Content(bytes) => return Ok((bytes, None)),
            Self::FileObject(file) => file,
        };
        let _inside = enter(file.py());
        let bytes = read_file_object(&file, max_size)?;
        let name = file.getattr("name").ok().and_then(|name| name.cast_into::<PyString>().ok());
        let name = name.and_then(|name| file_name(Path::new(&name.to_string())));
        Ok((UploadContent::Bytes(bytes), name))
    }
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
        let bytes = bytes.cast::<PyBytes>().map_err(|_| {
            PyTypeError::new_err("file takes a file opened in binary mode (\"rb\")")
        })?;
        if bytes.as_bytes().is_empty() {
            break;
        }
        all.extend_from_slice(bytes.as_bytes());
    }
    Ok(all.freeze())
}
