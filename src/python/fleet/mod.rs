//! `Fleet`: one run over many machines, to loop over, blocking or with asyncio.

pub mod args;
pub mod outcome;
pub mod report;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_util::FutureExt;
use pyo3::exceptions::{PyException, PyRuntimeError, PyStopAsyncIteration, PyTypeError};
use pyo3::prelude::*;

use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::fleet::{self, Cursor};
use crate::python::arguments::Seconds;
use crate::python::errors::to_pyerr_with_sessions;
use crate::python::fleet::outcome::OutcomeParts;
use crate::python::fleet::report::ReportParts;
use crate::python::operations::operations;
use crate::python::runtime::{CoreTask, Coroutine, IntoPython, ProcessLocal, run_blocking};
use crate::session::Sessions;

/// One run over many machines. Each loop over it yields each row's outcome once, as it ends, from the start.
///
/// It is a blocking and an asynchronous iterable alike. Leaving a loop, or Ctrl-C, detaches: what runs goes on at the
/// service, nothing more is submitted here, and a warning tells the run id. A loop raises what `report` raises.
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct Fleet {
    core: ProcessLocal<Core>,
    run_id: String,
    rows: u32,
}

#[derive(Clone)]
struct Core {
    sessions: Arc<Sessions>,
    fleet: Arc<fleet::Fleet>,
    progress: Progress,
}

/// Python's `Progress` of the run, where it is to be shown.
type Progress = Arc<OnceLock<Py<PyAny>>>;

/// A fleet on its way to Python, and whether its progress is shown.
pub struct StartedFleet(pub Arc<Sessions>, pub fleet::Fleet, pub bool);

impl IntoPython for StartedFleet {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let (run_id, rows) = (self.1.run_id().to_owned(), self.1.rows());
        let progress = Progress::default();
        let core = Core { sessions: self.0, fleet: Arc::new(self.1), progress: progress.clone() };
        let fleet = Py::new(py, Fleet { core: ProcessLocal::new(core), run_id, rows })?;
        if self.2 {
            let shown =
                py.import("mde_live_response._progress")?.call_method1("Progress", (&fleet,))?;
            let _ = progress.set(shown.unbind());
        }
        Ok(fleet.into_any())
    }
}

/// What is told once all outcomes are known.
struct WithProgress<T>(T, Progress);

impl<T: IntoPython> IntoPython for WithProgress<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        finish_progress(py, &self.1)?;
        self.0.into_python(py)
    }
}

fn finish_progress(py: Python<'_>, progress: &Progress) -> PyResult<()> {
    progress.get().map_or(Ok(()), |shown| shown.call_method0(py, "finish").map(drop))
}

impl Core {
    fn outcome_parts(&self, outcome: fleet::Outcome) -> OutcomeParts {
        OutcomeParts(outcome, self.sessions.clone(), self.fleet.results())
    }

    async fn report(self, timeout: Option<f64>) -> Result<WithProgress<ReportParts>> {
        let outcomes = self.fleet.outcomes();
        let mut outcomes = match timeout {
            None => outcomes.await?,
            Some(seconds) => {
                match tokio::time::timeout(seconds_to_duration(seconds), outcomes).await {
                    Ok(outcomes) => outcomes?,
                    Err(_) => return Err(self.report_timeout_error(seconds)),
                }
            }
        };
        outcomes.sort_by_key(|outcome| outcome.row);
        let parts = outcomes.into_iter().map(|outcome| self.outcome_parts(outcome)).collect();
        Ok(WithProgress(ReportParts(self.fleet.run_id().to_owned(), parts), self.progress.clone()))
    }

    fn report_timeout_error(&self, seconds: f64) -> Error {
        let counts = self.fleet.counts();
        let (over, rows) = (counts.succeeded + counts.failed, self.fleet.rows());
        let message = format!(
            "run {} was not over within {seconds} s: {over} of {rows} are",
            self.fleet.run_id()
        );
        let mut error = Error::new(Kind::WaitTimeout, message)
            .with_hint("it goes on: wait again with report()");
        error.retryable = true;
        error
    }
}

impl Fleet {
    fn require_core(&self) -> PyResult<Core> {
        self.core.get().cloned().ok_or_else(|| {
            PyRuntimeError::new_err(
                "this Fleet is the parent's: resume the run by its id in the forked child",
            )
        })
    }

    fn make_task<T: IntoPython, F>(&self, start: impl FnOnce(Core) -> F) -> PyResult<CoreTask>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let core = self.require_core()?;
        Ok(CoreTask::new(&core.sessions.clone(), start(core)))
    }
}

operations! {
    Fleet;

    operations {
        /// Wait until every row has its outcome.
        ///
        /// Args:
        ///     timeout: seconds for the wait; None: no bound.
        ///
        /// Raises:
        ///     WaitTimeoutError: `timeout` is over; the run goes on.
        ///     InvalidRequestError: the fleet was closed before the run was over.
        ///     AuthenticationError: there is no token that the service accepts any more; the run can be resumed.
        ///     StateError: the state store failed, for as long as a run waits for it; the run can be resumed.
        report / report_async (timeout=None) [timeout: Option<Seconds>]
            |this, py| { let _ = py; this.make_task(|core| core.report(timeout.map(|it| it.0))) };

        /// Cancel the run, for every process that is at it: nothing more is submitted.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        /// Permission: Machine.LiveResponse.
        ///
        /// Args:
        ///     comment: why; it is kept with the outcomes, and with each action that is cancelled.
        ///     running: cancel what runs, too; False: only what was not submitted yet.
        ///
        /// Raises:
        ///     InvalidRequestError: the comment is empty.
        ///     StateError: the state store failed.
        cancel / cancel_async (comment, *, running=true) [comment: String, running: bool]
            |this, py| { let _ = py; this.make_task(|core| async move { core.fleet.cancel(&comment, running).await }) };
    }

    methods {
        /// The run's id: all that is needed to go on with it, from any process that shares the state store.
        #[getter]
        fn run_id(&self) -> &str {
            &self.run_id
        }

        /// How many rows stand how: waiting, pending, running, succeeded, failed.
        #[getter]
        fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            crate::python::models::values::to_python_object(py, &self.require_core()?.fleet.counts().to_map())
        }

        /// Every row has its outcome.
        #[getter]
        fn done(&self) -> PyResult<bool> {
            Ok(self.require_core()?.fleet.is_over())
        }

        #[getter]
        fn _is_active(&self) -> PyResult<bool> {
            Ok(self.require_core()?.fleet.is_active())
        }

        /// Detach: what runs goes on at the service, and nothing more is submitted here.
        fn close(&self) {
            if let Some(core) = self.core.get() {
                core.fleet.detach();
            }
        }

        fn __len__(&self) -> usize {
            self.rows as usize
        }

        fn __iter__(&self) -> PyResult<FleetIterator> {
            self.require_core().map(FleetIterator::new)
        }

        fn __aiter__(&self) -> PyResult<FleetIterator> {
            self.require_core().map(FleetIterator::new)
        }

        fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
            slf.py().import("mde_live_response.display_fleet")?.call_method1("fleet_html", (slf,))
        }

        fn __reduce__(&self) -> PyResult<()> {
            Err(PyTypeError::new_err("a Fleet is not pickled: pickle its `run_id`, and resume the run by it"))
        }

        fn __repr__(&self) -> String {
            format!("<Fleet {}: {} machines>", self.run_id, self.rows)
        }
    }
}

/// One loop over a fleet. Private: `iter(fleet)` and `aiter(fleet)` make it.
#[pyclass(frozen, module = "mde_live_response._native")]
pub struct FleetIterator {
    core: ProcessLocal<Core>,
    cursor: Arc<tokio::sync::Mutex<Cursor>>,
    /// It has come to its end, or was left.
    ended: Arc<AtomicBool>,
}

impl FleetIterator {
    fn new(core: Core) -> Self {
        Self {
            core: ProcessLocal::new(core),
            cursor: Arc::default(),
            ended: Arc::new(AtomicBool::new(false)),
        }
    }

    /// The next outcome; `end` is what is raised when there is none.
    fn next(&self, end: fn() -> PyErr) -> PyResult<CoreTask> {
        let core = self.core.get().cloned().ok_or_else(|| {
            PyRuntimeError::new_err(
                "this loop is the parent's: resume the run by its id in the forked child",
            )
        })?;
        let (cursor, ended) = (self.cursor.clone(), self.ended.clone());
        let start = move |_| {
            async move {
                let next = core.fleet.next(&mut *cursor.lock().await).await;
                let next = next.map(|outcome| outcome.map(|outcome| core.outcome_parts(outcome)));
                Box::new(move |py: Python<'_>| match next {
                    Ok(Some(parts)) => parts.into_python(py),
                    Ok(None) => {
                        ended.store(true, Ordering::SeqCst);
                        finish_progress(py, &core.progress)?;
                        Err(end())
                    }
                    Err(error) => {
                        ended.store(true, Ordering::SeqCst);
                        Err(to_pyerr_with_sessions(py, error, Some(&core.sessions)))
                    }
                }) as _
            }
            .boxed()
        };
        Ok(CoreTask { start: Box::new(start), on_update: None })
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
        match run_blocking(py, self.next(|| PyStopAsyncIteration::new_err(()))?) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(error) if error.is_instance_of::<PyStopAsyncIteration>(py) => Ok(None),
            Err(error) => {
                // Ctrl-C: the traceback keeps this loop for longer than it is one.
                if !error.is_instance_of::<PyException>(py) {
                    self.detach();
                }
                Err(error)
            }
        }
    }

    fn __anext__(&self) -> PyResult<Coroutine> {
        Ok(Coroutine::new("Fleet.__anext__", self.next(|| PyStopAsyncIteration::new_err(()))?))
    }
}

impl Drop for FleetIterator {
    fn drop(&mut self) {
        self.detach();
    }
}
