//! `FleetReport`: the outcomes of a finished run.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyIterator, PyTuple};
use serde::Serialize;

use crate::error::Result;
use crate::fleet;
use crate::python::convert::IntoPython;
use crate::python::fleet::outcome::{LoadableOutcome, Outcome};
use crate::python::gil_gate::enter;
use crate::python::models::json_ready::{JsonReady, json_dict};
use crate::python::models::{pickle, values};
use crate::python::runtime::{CoreTask, run_blocking};
use crate::session::SessionResult;

/// The outcomes of a finished run: a sequence with one outcome for every row.
#[pyclass(frozen, module = "mde_live_response", sequence)]
pub struct FleetReport {
    run_id: String,
    outcomes: Py<PyTuple>,
    rows: PyOnceLock<Py<PyAny>>,
}

/// What a report is made of.
pub struct ReportParts {
    pub run_id: String,
    pub outcomes: Vec<LoadableOutcome>,
}

impl IntoPython for ReportParts {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcomes = self.outcomes.into_python(py)?.into_bound(py).cast_into()?;
        Ok(Py::new(py, FleetReport::new(self.run_id, outcomes))?.into_any())
    }
}

/// One row of `to_dicts`, in the order of the columns.
#[derive(Serialize)]
struct TableRow {
    tenant_id: Option<String>,
    machine: String,
    machine_id: Option<String>,
    action_id: Option<String>,
    status: Option<String>,
    ok: bool,
    reason: String,
    message: String,
    exit_code: Option<i64>,
    stdout: Option<String>,
    files: Vec<String>,
}

impl IntoPython for TableRow {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(values::to_python_object(py, &self)?.unbind())
    }
}

impl TableRow {
    fn new(outcome: &fleet::Outcome, result: Option<&SessionResult>) -> Self {
        let commands = || result.iter().flat_map(|result| &result.commands);
        let scripts = || commands().filter_map(|command| command.script.as_ref());
        let codes: Vec<i64> = scripts().filter_map(|script| script.exit_code).collect();
        // One failed script makes the row a failure, so its exit code is the one to show.
        let code = codes.iter().find(|code| **code != 0).or(codes.first());
        let stdout: Vec<String> = scripts().map(crate::model::ScriptOutput::text).collect();
        let files = commands().filter_map(|command| command.file.as_ref()?.path.clone());
        Self {
            tenant_id: outcome.tenant_id.clone(),
            machine: outcome.machine.clone(),
            machine_id: outcome.machine_id.clone(),
            action_id: outcome.action_id.clone(),
            status: outcome.status.clone(),
            ok: outcome.is_ok(),
            reason: outcome.reason.clone(),
            message: outcome.message.clone(),
            exit_code: code.copied(),
            stdout: (!stdout.is_empty()).then(|| stdout.join("\n")),
            files: files.collect(),
        }
    }
}

impl FleetReport {
    fn new(run_id: String, outcomes: Bound<'_, PyTuple>) -> Self {
        Self { run_id, outcomes: outcomes.unbind(), rows: PyOnceLock::new() }
    }

    pub fn from_pickle(py: Python<'_>, state: &[u8]) -> PyResult<Py<PyAny>> {
        let _inside = enter(py);
        let (run_id, outcomes): (String, Bound<'_, PyTuple>) =
            py.import("pickle")?.call_method1("loads", (state,))?.extract()?;
        Ok(Py::new(py, Self::new(run_id, outcomes))?.into_any())
    }

    fn core_outcomes(&self, py: Python<'_>) -> PyResult<Vec<Arc<fleet::Outcome>>> {
        let outcomes = self.outcomes.bind(py).iter();
        outcomes.map(|outcome| Ok(outcome.cast::<Outcome>()?.get().core.clone())).collect()
    }

    fn load_rows(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let mut loads = Vec::new();
        for outcome in self.outcomes.bind(py).iter() {
            let outcome = outcome.cast::<Outcome>()?.get();
            loads.push((outcome.core.clone(), outcome.fetch_result()));
        }
        let rows = async move {
            let mut rows = Vec::with_capacity(loads.len());
            // One result at a time: those of a large run do not fit into memory together.
            for (outcome, load) in loads {
                rows.push(TableRow::new(&outcome, load.await?.as_deref()));
            }
            Result::Ok(rows)
        };
        run_blocking(py, CoreTask::without_client(rows))
    }
}

/// A report without the results of its outcomes.
struct ReportView<'a> {
    run_id: &'a str,
    outcomes: &'a [Arc<fleet::Outcome>],
}

json_dict! { ReportView<'_>, |report| {
    "run_id": report.run_id,
    "ok": report.outcomes.iter().all(|outcome| outcome.is_ok()),
    "outcomes": report.outcomes,
} }

#[pymethods]
impl FleetReport {
    /// The run's id.
    #[getter]
    fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The outcome of each row, in the order of the rows.
    #[getter]
    fn outcomes<'py>(&self, py: Python<'py>) -> Bound<'py, PyTuple> {
        self.outcomes.bind(py).clone()
    }

    /// Whether every outcome is ok.
    #[getter]
    fn ok(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.core_outcomes(py)?.iter().all(|outcome| outcome.is_ok()))
    }

    /// Return one dict for each machine, as `pandas.DataFrame` and `polars.DataFrame` accept
    /// them.
    ///
    /// The results are read from the state store by the first call.
    ///
    /// Returns:
    ///     Dicts of tenant_id, machine, machine_id, action_id, status, ok, reason, message,
    ///     exit_code (the first that is not 0), stdout (of all scripts, for display) and files
    ///     (where they were saved).
    ///
    /// Raises:
    ///     StateError: the state store cannot be read.
    fn to_dicts(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.rows.get_or_try_init(py, || self.load_rows(py)).map(|rows| rows.clone_ref(py))
    }

    /// Return the run id and the outcomes, without their results, as a JSON-ready dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let outcomes = self.core_outcomes(py)?;
        ReportView { run_id: &self.run_id, outcomes: &outcomes }.to_json_ready(py)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.outcomes.bind(py).len()
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.outcomes.bind(py).as_any().get_item(index)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let _inside = enter(py);
        self.outcomes.bind(py).as_any().try_iter()
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        Ok(self.run_id == other.run_id && self.core_outcomes(py)? == other.core_outcomes(py)?)
    }

    fn __hash__(&self) -> u64 {
        values::hash_of(&self.run_id)
    }

    fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let _inside = enter(slf.py());
        let display = slf.py().import("mde_live_response.display_fleet")?;
        display.call_method1("fleet_report_html", (slf,))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<pickle::ReduceValue<'py>> {
        let _inside = enter(py);
        let restore = py.import("mde_live_response._native")?.getattr("_restore")?;
        let state =
            py.import("pickle")?.call_method1("dumps", ((&self.run_id, &self.outcomes),))?;
        Ok((restore, ("FleetReport", state.cast_into::<PyBytes>()?)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let outcomes = self.core_outcomes(py)?;
        let ok = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        Ok(format!("<FleetReport of run {}: {ok} of {} ok>", self.run_id, outcomes.len()))
    }
}
