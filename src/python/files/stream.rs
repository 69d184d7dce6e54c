//! `FileStream`: a collected file as an iterator of bytes, blocking or with asyncio.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::model;
use crate::python::errors::to_pyerr;
use crate::python::models::CollectedFile;
use crate::python::runtime::{CoreTask, Coroutine, ProcessLocal, run_blocking};
use crate::session::{self, Sessions, StreamItem};

/// An iterator over the bytes of a collected file, for `for` and for `async for`.
///
/// After a broken connection, the download resumes. The file is checked at the end: if the loop
/// raises, discard all bytes that it yielded. The loop raises what `Session.download` raises.
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct FileStream {
    core: ProcessLocal<StreamCore>,
    file: Arc<Mutex<Option<model::CollectedFile>>>,
}

#[derive(Clone)]
struct StreamCore {
    sessions: Arc<Sessions>,
    stream: Arc<tokio::sync::Mutex<session::FileStream>>,
}

impl FileStream {
    pub fn new(session: &session::Session, index: u32) -> Self {
        let stream = Arc::new(tokio::sync::Mutex::new(session.stream(index)));
        Self {
            core: ProcessLocal::new(StreamCore { sessions: session.sessions().clone(), stream }),
            file: Arc::default(),
        }
    }

    /// Makes the task that returns the next piece, or raises StopAsyncIteration at the end.
    fn next(&self) -> PyResult<CoreTask> {
        let core = self.core.get().cloned().ok_or_else(|| {
            PyRuntimeError::new_err(
                "this FileStream belongs to the parent process: call stream() in the forked child",
            )
        })?;
        let file = self.file.clone();
        Ok(CoreTask::with_conversion(async move {
            let next = core.stream.lock().await.next().await;
            Box::new(move |py: Python<'_>| match next {
                Ok(Some(StreamItem::Bytes(bytes))) => {
                    Ok(PyBytes::new(py, &bytes).into_any().unbind())
                }
                Ok(Some(StreamItem::End(collected))) => {
                    *file.lock().unwrap_or_else(PoisonError::into_inner) = Some(collected);
                    Err(PyStopAsyncIteration::new_err(()))
                }
                Ok(None) => Err(PyStopAsyncIteration::new_err(())),
                Err(error) => Err(to_pyerr(py, error, Some(&core.sessions))),
            }) as _
        }))
    }
}

#[pymethods]
impl FileStream {
    /// The file's description once the loop has finished, else None. Its `path` is None.
    #[getter]
    fn file(&self) -> Option<CollectedFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone().map(CollectedFile::from)
    }

    /// Stop the download: close its connection and end the loop.
    fn close(&self) {
        if let Some(core) = self.core.get()
            // The lock is held while another thread or task fetches a piece. That fetch
            // continues.
            && let Ok(mut stream) = core.stream.try_lock()
        {
            stream.close();
        }
    }

    /// Stop the download: close its connection and end the loop.
    fn aclose(&self, py: Python<'_>) -> Coroutine {
        self.close();
        Coroutine::new("FileStream.aclose", CoreTask::ready(py.None()))
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match run_blocking(py, self.next()?) {
            Ok(piece) => Ok(Some(piece)),
            Err(error) if error.is_instance_of::<PyStopAsyncIteration>(py) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn __anext__(&self) -> PyResult<Coroutine> {
        Ok(Coroutine::new("FileStream.__anext__", self.next()?))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a FileStream is not pickled: it holds a connection; call stream() again",
        ))
    }

    fn __repr__(&self) -> &'static str {
        if self.file().is_some() { "<FileStream: ended>" } else { "<FileStream>" }
    }
}
