//! `Outcome`: how one row of a run ended. Its result stays in the state store until it is
//! loaded.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDateTime;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::fleet::{self, ResultLoader};
use crate::model::Timestamp;
use crate::python::convert::IntoPython;
use crate::python::errors::to_exception_object;
use crate::python::models::json_ready::{JsonReady, json_dict};
use crate::python::models::{SessionResult, pickle, values};
use crate::python::notebook::to_html;
use crate::python::operations::operations;
use crate::python::runtime::{CoreTask, ProcessLocal, run_blocking};
use crate::session::{self, Sessions};
use crate::text::printable;

/// How one row of a run ended. Every row gets exactly one outcome.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Outcome {
    pub(super) core: Arc<fleet::Outcome>,
    source: OutcomeSource,
}

/// Where an outcome's result is.
enum OutcomeSource {
    Store(ProcessLocal<(Arc<Sessions>, ResultLoader)>),
    /// The outcome was unpickled together with its result.
    Memory(Option<Arc<session::SessionResult>>),
}

#[derive(Serialize, Deserialize)]
struct PickledOutcome {
    outcome: fleet::Outcome,
    result: Option<session::SessionResult>,
}

/// An outcome of the core, with what is needed to load its result.
pub struct LoadableOutcome {
    pub outcome: fleet::Outcome,
    pub sessions: Arc<Sessions>,
    pub loader: ResultLoader,
}

impl From<LoadableOutcome> for Outcome {
    fn from(LoadableOutcome { outcome, sessions, loader }: LoadableOutcome) -> Self {
        let source = OutcomeSource::Store(ProcessLocal::new((sessions, loader)));
        Self { core: Arc::new(outcome), source }
    }
}

impl IntoPython for LoadableOutcome {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Outcome::from(self))?.into_any())
    }
}

/// A loaded result, shared with what it was loaded from.
struct LoadedResult(Option<Arc<session::SessionResult>>);

impl IntoPython for LoadedResult {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.0 {
            Some(result) => Ok(Py::new(py, SessionResult::from(result))?.into_any()),
            None => Ok(py.None()),
        }
    }
}

impl Outcome {
    /// Loads the result from the store or from memory.
    pub(super) fn fetch_result(
        &self,
    ) -> impl Future<Output = Result<Option<Arc<session::SessionResult>>>> + Send + 'static + use<>
    {
        let row = self.core.row;
        let source = match &self.source {
            OutcomeSource::Memory(result) => Ok(result.clone()),
            OutcomeSource::Store(own) => Err(own.get().map(|(_, loader)| loader.clone())),
        };
        async move {
            match source {
                Ok(result) => Ok(result),
                Err(Some(loader)) => Ok(loader.load(row).await?.map(Arc::new)),
                Err(None) => Err(Error::new(
                    Kind::State,
                    "this outcome belongs to the parent process: its result is loaded there",
                )
                .with_hint("resume the run in the forked child")),
            }
        }
    }

    fn load_task(&self) -> CoreTask {
        let loading = self.fetch_result();
        CoreTask::without_client(async move { loading.await.map(LoadedResult) })
    }

    pub fn from_pickle(py: Python<'_>, state: &[u8]) -> PyResult<Py<PyAny>> {
        let invalid =
            |error: serde_json::Error| pyo3::exceptions::PyValueError::new_err(error.to_string());
        let PickledOutcome { outcome, result } = serde_json::from_slice(state).map_err(invalid)?;
        let source = OutcomeSource::Memory(result.map(Arc::new));
        Ok(Py::new(py, Self { core: Arc::new(outcome), source })?.into_any())
    }
}

json_dict! { fleet::Outcome, |outcome| {
    "row": outcome.row,
    "machine": outcome.machine,
    "computer_dns_name": outcome.computer_dns_name,
    "machine_id": outcome.machine_id,
    "tenant_id": outcome.tenant_id,
    "action_id": outcome.action_id,
    "correlation_id": outcome.correlation_id,
    "status": outcome.status,
    "ok": outcome.is_ok(),
    "reason": outcome.reason,
    "message": outcome.message,
    "start_time": outcome.started.and_then(Timestamp::from_unix),
    "end_time": Timestamp::from_unix(outcome.ended),
    "error": outcome.error,
} }

operations! {
    Outcome;

    operations {
        /// Load the session's result from the state store.
        ///
        /// Every call reads the store again, so that a loop over many outcomes holds one result
        /// at a time.
        ///
        /// Returns:
        ///     The result, ok or not; None if no session finished.
        ///
        /// Raises:
        ///     StateError: the state store cannot be read, or this process was forked after the
        ///         run started.
        load_result / load_result_async () [] |this, py| PyResult::Ok(this.load_task());
    }

    methods {
        /// The row's index among the machines of the run, from 0.
        #[getter]
        fn row(&self) -> u32 {
            self.core.row
        }

        /// The machine as passed; for a Machine, its name.
        #[getter]
        fn machine(&self) -> &str {
            &self.core.machine
        }

        /// The machine's full name. None if it is not known, as of a machine that was not found.
        #[getter]
        fn computer_dns_name(&self) -> Option<&str> {
            self.core.computer_dns_name.as_deref()
        }

        /// The machine's id, if known.
        #[getter]
        fn machine_id(&self) -> Option<&str> {
            self.core.machine_id.as_deref()
        }

        /// The tenant's id, if the token has one.
        #[getter]
        fn tenant_id(&self) -> Option<&str> {
            self.core.tenant_id.as_deref()
        }

        /// The machine action's id, if a session was started.
        #[getter]
        fn action_id(&self) -> Option<&str> {
            self.core.action_id.as_deref()
        }

        /// The correlation id that the session was submitted with.
        #[getter]
        fn correlation_id(&self) -> Option<&str> {
            self.core.correlation_id.as_deref()
        }

        /// The last known status of the session. None if there was no session.
        #[getter]
        fn status(&self) -> Option<&str> {
            self.core.status.as_deref()
        }

        /// Whether the session ended and everything succeeded.
        #[getter]
        fn ok(&self) -> bool {
            self.core.is_ok()
        }

        /// The first thing that went wrong, as a keyword; `ok` if nothing did.
        ///
        /// If a session ended, this is the reason of its result. Otherwise: `busy`: at every
        /// attempt, another caller's session was on the machine. `machine`: no machine, or more
        /// than one, has this name or id. `permission`: a permission is missing. `duplicate`:
        /// another row is the same machine. `not_submitted`: the run was cancelled before.
        /// `error`: see `error`.
        #[getter]
        fn reason(&self) -> &str {
            &self.core.reason
        }

        /// The reason as a sentence.
        #[getter]
        fn message(&self) -> &str {
            &self.core.message
        }

        /// When the row's first session was accepted, in UTC. None if none was.
        #[getter]
        fn start_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, self.core.started.and_then(Timestamp::from_unix))
        }

        /// When the outcome was known, in UTC.
        #[getter]
        fn end_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, Timestamp::from_unix(self.core.ended))
        }

        /// Why there is no result. None if there is one.
        #[getter]
        fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
            self.core.error.as_ref().map(|error| to_exception_object(py, error))
        }

        /// Return the attributes, without the result, as a JSON-ready dict. Times are ISO 8601
        /// in UTC.
        fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            self.core.to_json_ready(py)
        }

        fn __eq__(&self, other: &Self) -> bool {
            self.core == other.core
        }

        fn __hash__(&self) -> u64 {
            values::hash_of(&(self.core.row, &self.core.machine, &self.core.action_id))
        }

        fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<pickle::ReduceValue<'py>> {
            // It may be unpickled where the state store is not, so the result goes with it.
            let result = run_blocking(py, self.load_task())?;
            let result = result.bind(py).cast::<SessionResult>().ok();
            let result = result.map(|result| result.get().core().clone());
            let outcome = (*self.core).clone();
            pickle::reduce(py, "Outcome", &PickledOutcome { outcome, result })
        }

        fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
            to_html(slf)
        }

        fn __repr__(&self) -> String {
            let (machine, reason) = (self.core.label(), &self.core.reason);
            printable(&format!("<Outcome of {machine}: {reason}>")).into_owned()
        }
    }
}
