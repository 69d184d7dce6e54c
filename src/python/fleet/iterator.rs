//! `FleetIterator`: one loop over a fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::exceptions::{PyException, PyRuntimeError, PyStopAsyncIteration};
use pyo3::prelude::*;

use super::{FleetCore, finish_progress};
use crate::fleet::Cursor;
use crate::python::convert::IntoPython;
use crate::python::errors::to_pyerr;
use crate::python::runtime::{CoreTask, Coroutine, ProcessLocal, run_blocking};

/// One loop over a fleet. Private: `iter(fleet)` and `aiter(fleet)` make it.
#[pyclass(frozen, module = "mde_live_response._native")]
pub struct FleetIterator {
    core: ProcessLocal<FleetCore>,
    cursor: Arc<tokio::sync::Mutex<Cursor>>,
    /// Whether the loop has finished or the caller has left it.
    ended: Arc<AtomicBool>,
}

impl FleetIterator {
    pub(super) fn new(core: FleetCore) -> Self {
        Self {
            core: ProcessLocal::new(core),
            cursor: Arc::default(),
            ended: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Makes the task that returns the next outcome, or raises StopAsyncIteration at the end.
    fn next(&self) -> PyResult<CoreTask> {
        let core = self.core.get().cloned().ok_or_else(|| {
            PyRuntimeError::new_err(
                "this loop belongs to the parent process: in the forked child, resume the run by \
                 its id",
            )
        })?;
        // Shared with the task, which may outlive this iterator.
        let (cursor, ended) = (self.cursor.clone(), self.ended.clone());
        Ok(CoreTask::with_conversion(async move {
            let next = core.fleet.next(&mut *cursor.lock().await).await;
            let next = next.map(|outcome| outcome.map(|outcome| core.loadable(outcome)));
            Box::new(move |py: Python<'_>| match next {
                Ok(Some(outcome)) => outcome.into_python(py),
                Ok(None) => {
                    ended.store(true, Ordering::SeqCst);
                    finish_progress(py, &core.progress)?;
                    Err(PyStopAsyncIteration::new_err(()))
                }
                Err(error) => {
                    ended.store(true, Ordering::SeqCst);
                    Err(to_pyerr(py, error, Some(&core.sessions)))
                }
            }) as _
        }))
    }

    fn detach(&self) {
        if !self.ended.swap(true, Ordering::SeqCst)
            && let Some(core) = self.core.get()
        {
            core.fleet.detach_and_warn();
        }
    }
}

#[pymethods]
impl FleetIterator {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match run_blocking(py, self.next()?) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(error) if error.is_instance_of::<PyStopAsyncIteration>(py) => Ok(None),
            Err(error) => {
                // After Ctrl-C, the traceback keeps this iterator alive: it cannot wait for its
                // drop.
                if !error.is_instance_of::<PyException>(py) {
                    self.detach();
                }
                Err(error)
            }
        }
    }

    fn __anext__(&self) -> PyResult<Coroutine> {
        Ok(Coroutine::new("Fleet.__anext__", self.next()?))
    }
}

impl Drop for FleetIterator {
    fn drop(&mut self) {
        self.detach();
    }
}
