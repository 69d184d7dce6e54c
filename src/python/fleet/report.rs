//! `FleetReport`: a run that is over.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;

use crate::error::Result;
use crate::fleet;
use crate::python::fleet::outcome::{Outcome, OutcomeParts};
use crate::python::models::{pickle, values};
use crate::python::runtime::{CoreTask, IntoPython, run_blocking};
use crate::session::{SessionResult, Sessions};

/// A run that is over: every outcome of it.
#[pyclass(frozen, module = "mde_live_response")]
pub struct FleetReport {
    run_id: String,
    outcomes: Vec<Py<Outcome>>,
}

/// A report on its way to Python.
pub struct ReportParts(pub String, pub Vec<OutcomeParts>);

impl IntoPython for ReportParts {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let outcomes = self.1.into_iter().map(|parts| Py::new(py, Outcome::from(parts)));
        let report = FleetReport { run_id: self.0, outcomes: outcomes.collect::<PyResult<_>>()? };
        Ok(Py::new(py, report)?.into_any())
    }
}

/// Rows on their way to Python.
struct TableRows(Vec<TableRow>);

/// In the order of a table's columns.
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

impl IntoPython for TableRows {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(values::to_python_object(py, &self.0)?.unbind())
    }
}

impl FleetReport {
    pub fn from_pickle(py: Python<'_>, state: &[u8]) -> PyResult<Py<PyAny>> {
        let (run_id, outcomes): (String, Py<PyAny>) =
            py.import("pickle")?.call_method1("loads", (state,))?.extract()?;
        Ok(Py::new(py, Self { run_id, outcomes: outcomes.extract(py)? })?.into_any())
    }

    /// A process that can load results, if these are not here already.
    fn sessions(&self) -> Option<std::sync::Arc<Sessions>> {
        self.outcomes.iter().find_map(|outcome| outcome.get().sessions())
    }
}

/// What a table has of one outcome.
fn to_table_row(outcome: &fleet::Outcome, result: Option<&SessionResult>) -> TableRow {
    let scripts =
        || result.iter().flat_map(|it| &it.commands).filter_map(|command| command.script.as_ref());
    let codes: Vec<i64> = scripts().filter_map(|script| script.exit_code).collect();
    let code = codes.iter().find(|code| **code != 0).or(codes.first());
    let stdout: Vec<String> = scripts().map(crate::model::ScriptOutput::text).collect();
    let files = result
        .iter()
        .flat_map(|it| &it.commands)
        .filter_map(|command| command.file.as_ref()?.path.clone());
    TableRow {
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

#[pymethods]
impl FleetReport {
    /// The run's id.
    #[getter]
    fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Each row's outcome, in the order of the rows.
    #[getter]
    fn outcomes(&self, py: Python<'_>) -> Vec<Py<Outcome>> {
        self.outcomes.iter().map(|outcome| outcome.clone_ref(py)).collect()
    }

    /// Every outcome is ok.
    #[getter]
    fn ok(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.get().core.is_ok())
    }

    /// Give a row for each machine, as `pandas.DataFrame` and `polars.DataFrame` take them.
    ///
    /// Returns:
    ///     Dicts of tenant_id, machine, machine_id, action_id, status, ok, reason, message, exit_code (the first that
    ///     is not 0), stdout (of all scripts, safe to show) and files (where they were saved).
    fn to_dicts(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let loads: Vec<_> = self
            .outcomes
            .iter()
            .map(|it| (it.get().core.clone(), it.get().fetch_result()))
            .collect();
        let rows = async move {
            let mut rows = Vec::with_capacity(loads.len());
            for (outcome, load) in loads {
                rows.push(to_table_row(&outcome, load.await?.as_ref()));
            }
            Result::Ok(TableRows(rows))
        };
        match self.sessions() {
            Some(sessions) => run_blocking(py, CoreTask::new(&sessions, rows)),
            // What was unpickled has all of it at hand.
            None => match futures_util::FutureExt::now_or_never(rows) {
                Some(Ok(rows)) => rows.into_python(py),
                Some(Err(error)) => Err(crate::python::errors::to_pyerr(py, error)),
                None => TableRows(Vec::new()).into_python(py),
            },
        }
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> Option<bool> {
        let other = other.cast::<Self>().ok()?.get();
        let cores = |report: &Self| {
            report.outcomes.iter().map(|it| it.get().core.clone()).collect::<Vec<_>>()
        };
        Some(self.run_id == other.run_id && values::is_equal(&cores(self), &cores(other)))
    }

    fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py()
            .import("mde_live_response.display_fleet")?
            .call_method1("fleet_report_html", (slf,))
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<pickle::ReduceValue<'py>> {
        let restore = py.import("mde_live_response._native")?.getattr("_restore")?;
        let state =
            py.import("pickle")?.call_method1("dumps", ((&self.run_id, self.outcomes(py)),))?;
        Ok((restore, ("FleetReport", state.cast_into::<PyBytes>()?)))
    }

    fn __repr__(&self) -> String {
        let ok = self.outcomes.iter().filter(|outcome| outcome.get().core.is_ok()).count();
        format!("<FleetReport of run {}: {ok} of {} ok>", self.run_id, self.outcomes.len())
    }
}
