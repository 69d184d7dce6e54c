//! `Fleet`: a run over many machines, a blocking and an asynchronous iterable.

pub mod args;
pub mod iterator;
pub mod outcome;
pub mod report;
mod table;
pub mod until;

use std::sync::{Arc, OnceLock};

use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::fleet;
use crate::python::convert::IntoPython;
use crate::python::fleet::iterator::FleetIterator;
use crate::python::fleet::outcome::LoadableOutcome;
use crate::python::fleet::report::ReportParts;
use crate::python::gil_gate::enter;
use crate::python::models::values;
use crate::python::notebook::to_html;
use crate::python::operations::operations;
use crate::python::runtime::{CoreTask, Coroutine, ProcessLocal};
use crate::python::seconds::Seconds;
use crate::session::Sessions;

/// One run over many machines. Each loop starts at the first outcome and yields every outcome
/// once, as soon as it is known.
///
/// Use it in `for` or `async for`, and in `with` or `async with`. The end of the block detaches
/// from the run, and so does leaving a loop or pressing Ctrl-C: running sessions continue at the
/// service, this process submits no more, and a warning logs the run id. A loop raises what
/// `report` raises.
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct Fleet {
    core: ProcessLocal<FleetCore>,
    run_id: String,
    rows: u32,
}

#[derive(Clone)]
struct FleetCore {
    sessions: Arc<Sessions>,
    fleet: Arc<fleet::Fleet>,
    progress: Progress,
}

/// The `_progress.Progress` of the run; unset if progress is not shown.
type Progress = Arc<OnceLock<Py<PyAny>>>;

/// A started run that becomes a `Fleet`.
pub struct StartedFleet {
    pub sessions: Arc<Sessions>,
    pub fleet: fleet::Fleet,
    pub show_progress: bool,
}

impl IntoPython for StartedFleet {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let _inside = enter(py);
        let (run_id, rows) = (self.fleet.run_id().to_owned(), self.fleet.rows());
        let progress = Progress::default();
        let core = FleetCore {
            sessions: self.sessions,
            fleet: Arc::new(self.fleet),
            progress: progress.clone(),
        };
        let fleet = Py::new(py, Fleet { core: ProcessLocal::new(core), run_id, rows })?;
        if self.show_progress {
            let shown =
                py.import("mde_live_response._progress")?.call_method1("Progress", (&fleet,))?;
            let _ = progress.set(shown.unbind());
        }
        Ok(fleet.into_any())
    }
}

/// A value that ends the display of progress when it becomes a Python object.
struct WithProgress<T>(T, Progress);

impl<T: IntoPython> IntoPython for WithProgress<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        finish_progress(py, &self.1)?;
        self.0.into_python(py)
    }
}

fn finish_progress(py: Python<'_>, progress: &Progress) -> PyResult<()> {
    let _inside = enter(py);
    progress.get().map_or(Ok(()), |shown| shown.call_method0(py, "finish").map(drop))
}

impl FleetCore {
    fn loadable(&self, outcome: fleet::Outcome) -> LoadableOutcome {
        let sessions = self.sessions.clone();
        LoadableOutcome { outcome, sessions, loader: self.fleet.results() }
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
        // Machines finish in any order.
        outcomes.sort_by_key(|outcome| outcome.row);
        let outcomes = outcomes.into_iter().map(|outcome| self.loadable(outcome)).collect();
        let report = ReportParts { run_id: self.fleet.run_id().to_owned(), outcomes };
        Ok(WithProgress(report, self.progress.clone()))
    }

    fn report_timeout_error(&self, seconds: f64) -> Error {
        let counts = self.fleet.counts();
        let (done, rows) = (counts.succeeded + counts.failed, self.fleet.rows());
        let message = format!(
            "run {} did not finish within {seconds} s: {done} of {rows} machines are done",
            self.fleet.run_id()
        );
        let mut error = Error::new(Kind::WaitTimeout, message)
            .with_hint("the run continues: wait again with report()");
        // Waiting again starts nothing.
        error.retryable = true;
        error
    }
}

impl Fleet {
    fn require_core(&self) -> PyResult<FleetCore> {
        self.core.get().cloned().ok_or_else(|| {
            PyRuntimeError::new_err(
                "this Fleet belongs to the parent process: in the forked child, resume the run by \
                 its id",
            )
        })
    }

    fn make_task<T: IntoPython, F>(&self, start: impl FnOnce(FleetCore) -> F) -> PyResult<CoreTask>
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
        /// Wait for all outcomes.
        ///
        /// Args:
        ///     timeout: seconds or a timedelta, 0 or more. None waits without limit.
        ///
        /// Returns:
        ///     The report, with an outcome for every row.
        ///
        /// Raises:
        ///     WaitTimeoutError: `timeout` passed. The run continues.
        ///     InvalidRequestError: the fleet was closed before the run finished.
        ///     AuthenticationError: the service accepts no token any more. The run can be
        ///         resumed.
        ///     StateError: the state store failed for longer than a run waits for it. The run
        ///         can be resumed.
        report / report_async (timeout=None) [timeout: Option<Seconds>]
            |this, py| this.make_task(|core| core.report(timeout.map(|it| it.0)));

        /// Cancel the run in every process that works on it. Nothing more is submitted.
        ///
        /// The service's page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        /// Permission: Machine.LiveResponse.
        ///
        /// Args:
        ///     comment: the reason, stored with the outcomes and with each cancelled action.
        ///     running: also cancel running sessions. False cancels only what was not
        ///         submitted.
        ///
        /// Raises:
        ///     InvalidRequestError: the comment is empty.
        ///     StateError: the state store failed.
        cancel / cancel_async (comment, *, running=true) [comment: String, running: bool]
            |this, py| this.make_task(|core| async move {
                core.fleet.cancel(&comment, running).await
            });
    }

    methods {
        /// The run's id. With it, any process that shares the state store can resume the run.
        #[getter]
        fn run_id(&self) -> &str {
            &self.run_id
        }

        /// The number of rows by state: waiting, pending, running, succeeded, failed.
        #[getter]
        fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            values::to_python_object(py, &self.require_core()?.fleet.counts().to_map())
        }

        /// Whether every row has its outcome.
        #[getter]
        fn done(&self) -> PyResult<bool> {
            Ok(self.require_core()?.fleet.is_over())
        }

        #[getter]
        fn _is_active(&self) -> PyResult<bool> {
            Ok(self.require_core()?.fleet.is_active())
        }

        /// Detach: running sessions continue at the service, and this process submits no more.
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

        fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
            slf
        }

        #[pyo3(signature = (*_exc))]
        fn __exit__(&self, _exc: &Bound<'_, PyTuple>) {
            self.close();
        }

        fn __aenter__(slf: Bound<'_, Self>) -> Coroutine {
            Coroutine::new("Fleet.__aenter__", CoreTask::ready(slf.into_any().unbind()))
        }

        #[pyo3(signature = (*_exc))]
        fn __aexit__(&self, py: Python<'_>, _exc: &Bound<'_, PyTuple>) -> Coroutine {
            self.close();
            Coroutine::new("Fleet.__aexit__", CoreTask::ready(py.None()))
        }

        fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
            to_html(slf)
        }

        fn __reduce__(&self) -> PyResult<()> {
            Err(PyTypeError::new_err(
                "a Fleet is not pickled: pickle its `run_id`, and resume the run by it",
            ))
        }

        fn __repr__(&self) -> String {
            format!("<Fleet {}: {} machines>", self.run_id, self.rows)
        }
    }
}
