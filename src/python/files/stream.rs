//! `FileStream`: a collected file piece by piece, to loop over, blocking or with asyncio.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::model;
use crate::python::errors::to_pyerr_with_sessions;
use crate::python::models::CollectedFile;
use crate::python::runtime::{CoreTask, Coroutine, ProcessLocal, run_blocking};
use crate::session::{self, Sessions, StreamItem};

/// A collected file on its way, in pieces of bytes: a blocking and an asynchronous iterator alike.
///
/// It goes on by itself where a connection breaks off. Its end is checked: what came before an error is not for use.
/// Raises, in the loop, what `Session.download` raises.
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct FileStream {
    core: ProcessLocal<Core>,
    file: Arc<Mutex<Option<model::CollectedFile>>>,
}

#[derive(Clone)]
struct Core {
    sessions: Arc<Sessions>,
    stream: Arc<tokio::sync::Mutex<session::FileStream>>,
}

impl FileStream {
    pub fn new(session: &session::Session, index: u32) -> Self {
        let stream = Arc::new(tokio::sync::Mutex::new(session.stream(index)));
        Self {
            core: ProcessLocal::new(Core { sessions: session.sessions().clone(), stream }),
            file: Arc::default(),
        }
    }

    /// The end is a StopAsyncIteration.
    fn next(&self) -> PyResult<CoreTask> {
        let core = self.core.get().cloned().ok_or_else(|| {
            PyRuntimeError::new_err(
                "this FileStream is the parent's: stream the file anew in the forked child",
            )
        })?;
        let file = self.file.clone();
        let start = move |_| {
            async move {
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
                    Err(error) => Err(to_pyerr_with_sessions(py, error, Some(&core.sessions))),
                }) as _
            }
            .boxed()
        };
        Ok(CoreTask { start: Box::new(start), on_update: None })
    }
}

#[pymethods]
impl FileStream {
    /// The file's description, once the loop has come to its end; None before. Its `path` is None.
    #[getter]
    fn file(&self) -> Option<CollectedFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone().map(CollectedFile::from)
    }

    /// Leave the download where it stands: its connection is closed, and the loop ends.
    fn close(&self) {
        if let Some(core) = self.core.get()
            && let Ok(mut stream) = core.stream.try_lock()
        {
            stream.close();
        }
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
            "a FileStream is not pickled: it holds a connection; stream the file anew",
        ))
    }

    fn __repr__(&self) -> &'static str {
        if self.file().is_some() { "<FileStream: ended>" } else { "<FileStream>" }
    }
}
