//! `Outcome`: what one row of a run came to. Its result stays in the store until it is asked for.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyDateTime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::fleet::{self, ResultLoader};
use crate::model::Timestamp;
use crate::python::errors::to_exception_object;
use crate::python::models::{SessionResult, pickle, values};
use crate::python::runtime::{CoreTask, IntoPython, ProcessLocal, run_blocking};
use crate::session::{self, Sessions};

/// What one row of a run came to: exactly one outcome, whatever happened.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Outcome {
    pub core: Arc<fleet::Outcome>,
    source: ResultSource,
}

/// Where an outcome's result is.
enum ResultSource {
    Store(ProcessLocal<(Arc<Sessions>, ResultLoader)>),
    Memory(Box<Option<session::SessionResult>>),
}

/// What is pickled.
#[derive(Serialize, Deserialize)]
struct PickledOutcome {
    outcome: fleet::Outcome,
    result: Option<session::SessionResult>,
}

/// An outcome on its way to Python.
pub struct OutcomeParts(pub fleet::Outcome, pub Arc<Sessions>, pub ResultLoader);

impl IntoPython for OutcomeParts {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Outcome::from(self))?.into_any())
    }
}

impl From<OutcomeParts> for Outcome {
    fn from(OutcomeParts(outcome, sessions, results): OutcomeParts) -> Self {
        Self {
            core: Arc::new(outcome),
            source: ResultSource::Store(ProcessLocal::new((sessions, results))),
        }
    }
}

/// A result on its way to Python.
struct LoadedResult(Option<session::SessionResult>);

impl IntoPython for LoadedResult {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.into_python(py)
    }
}

impl Outcome {
    /// The result, wherever it is.
    pub fn fetch_result(
        &self,
    ) -> impl Future<Output = Result<Option<session::SessionResult>>> + Send + 'static + use<> {
        let row = self.core.row;
        let from = match &self.source {
            ResultSource::Memory(result) => Ok((**result).clone()),
            ResultSource::Store(own) => Err(own.get().map(|(_, results)| results.clone())),
        };
        async move {
            match from {
                Ok(result) => Ok(result),
                Err(Some(results)) => results.load(row).await,
                Err(None) => Err(Error::new(
                    Kind::State,
                    "this outcome's result is the parent's: fetch it there",
                )
                .with_hint("resume the run in the forked child")),
            }
        }
    }

    /// What a load is told to.
    pub fn sessions(&self) -> Option<Arc<Sessions>> {
        match &self.source {
            ResultSource::Store(own) => own.get().map(|(sessions, _)| sessions.clone()),
            ResultSource::Memory(_) => None,
        }
    }

    fn attributes(&self) -> Value {
        let core = &*self.core;
        json!({
            "row": core.row,
            "machine": core.machine,
            "machine_id": core.machine_id,
            "tenant_id": core.tenant_id,
            "action_id": core.action_id,
            "correlation_id": core.correlation_id,
            "status": core.status,
            "ok": core.is_ok(),
            "reason": core.reason,
            "message": core.message,
            "start_time": core.started.and_then(Timestamp::from_unix),
            "end_time": Timestamp::from_unix(core.ended),
            "error": core.error.as_ref().map(ToString::to_string),
        })
    }

    /// Waits for the result with the GIL released.
    pub fn fetch_result_blocking(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let loading = self.fetch_result();
        match self.sessions() {
            Some(sessions) => run_blocking(
                py,
                CoreTask::new(&sessions, async move { loading.await.map(LoadedResult) }),
            ),
            None => match &self.source {
                ResultSource::Memory(result) => (**result).clone().into_python(py),
                ResultSource::Store(_) => Ok(py.None()),
            },
        }
    }

    pub fn from_pickle(py: Python<'_>, state: &[u8]) -> PyResult<Py<PyAny>> {
        let broken =
            |error: serde_json::Error| pyo3::exceptions::PyValueError::new_err(error.to_string());
        let PickledOutcome { outcome, result } = serde_json::from_slice(state).map_err(broken)?;
        let outcome =
            Self { core: Arc::new(outcome), source: ResultSource::Memory(Box::new(result)) };
        Ok(Py::new(py, outcome)?.into_any())
    }
}

#[pymethods]
impl Outcome {
    /// The row's place among the machines that were given, from 0.
    #[getter]
    fn row(&self) -> u32 {
        self.core.row
    }

    /// The machine as given.
    #[getter]
    fn machine(&self) -> &str {
        &self.core.machine
    }

    /// The machine's id, where it is known.
    #[getter]
    fn machine_id(&self) -> Option<&str> {
        self.core.machine_id.as_deref()
    }

    /// The tenant's id, where the token told it.
    #[getter]
    fn tenant_id(&self) -> Option<&str> {
        self.core.tenant_id.as_deref()
    }

    /// The machine action's id, where a session was started.
    #[getter]
    fn action_id(&self) -> Option<&str> {
        self.core.action_id.as_deref()
    }

    /// The id that the session was submitted with.
    #[getter]
    fn correlation_id(&self) -> Option<&str> {
        self.core.correlation_id.as_deref()
    }

    /// The service's last word on the session; None where there was none.
    #[getter]
    fn status(&self) -> Option<&str> {
        self.core.status.as_deref()
    }

    /// The session ended, and all went well.
    #[getter]
    fn ok(&self) -> bool {
        self.core.is_ok()
    }

    /// What first was not ok, in one word; `ok` where all was.
    ///
    /// That of the session's result; or, where it did not come to one, `busy`: another's sessions were on the machine
    /// all the time. `machine`: there is none of this name or id, or several. `permission`. `duplicate`: another row's
    /// machine. `not_submitted`: the run was cancelled before. `error`: anything else, in `error`.
    #[getter]
    fn reason(&self) -> &str {
        &self.core.reason
    }

    /// The reason, for a person.
    #[getter]
    fn message(&self) -> &str {
        &self.core.message
    }

    /// When the row's first session was accepted, in UTC; None where none was.
    #[getter]
    fn start_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, self.core.started.and_then(Timestamp::from_unix))
    }

    /// When the outcome was known, in UTC.
    #[getter]
    fn end_time<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
        values::to_datetime(py, Timestamp::from_unix(self.core.ended))
    }

    /// What the session left, failed or not, read from the store; None where it did not run to its end.
    #[getter]
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.fetch_result_blocking(py)
    }

    /// What kept the session from its end.
    #[getter]
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.core.error.as_ref().map(|error| to_exception_object(py, error))
    }

    /// Give a dict that is ready for JSON, without the result.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        values::to_python_object(py, &self.attributes())
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> Option<bool> {
        Some(values::is_equal(&*self.core, &*other.cast::<Self>().ok()?.get().core))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<pickle::ReduceValue<'py>> {
        let result = self.fetch_result_blocking(py)?;
        let result =
            result.bind(py).cast::<SessionResult>().ok().map(|result| result.get().core().clone());
        pickle::reduce(py, "Outcome", &PickledOutcome { outcome: (*self.core).clone(), result })
    }

    fn __repr__(&self) -> String {
        format!("<Outcome of {}: {}>", self.core.machine, self.core.reason)
    }
}
