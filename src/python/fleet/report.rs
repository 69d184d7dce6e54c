//! `FleetReport`: the outcomes of a finished run.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyTuple};

use crate::fleet;
use crate::python::arguments::named;
use crate::python::convert::IntoPython;
use crate::python::fleet::outcome::{LoadableOutcome, Outcome};
use crate::python::fleet::table::{Table, TableRow};
use crate::python::gil_gate::enter;
use crate::python::models::json_ready::{JsonReady, json_dict};
use crate::python::models::{pickle, values};
use crate::python::notebook::to_html;
use crate::python::runtime::{CoreTask, run_blocking};

/// The outcomes of a finished run: a sequence with one outcome for every row.
#[pyclass(frozen, module = "mde_live_response", sequence)]
pub struct FleetReport {
    run_id: String,
    outcomes: Py<PyTuple>,
    table: PyOnceLock<Table>,
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

impl FleetReport {
    fn new(run_id: String, outcomes: Bound<'_, PyTuple>) -> Self {
        Self { run_id, outcomes: outcomes.unbind(), table: PyOnceLock::new() }
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

    /// Returns the table of the outcomes and their results. The first call loads the results.
    fn table(&self, py: Python<'_>) -> PyResult<&Table> {
        self.table.get_or_try_init(py, || {
            let mut loads = Vec::new();
            for outcome in self.outcomes.bind(py).iter() {
                let outcome = outcome.cast::<Outcome>()?.get();
                loads.push((outcome.core.clone(), outcome.fetch_result()));
            }
            let rows = TableRow::load_all(self.run_id.clone(), loads);
            let rows = run_blocking(py, CoreTask::without_client(rows))?;
            Table::new(py, rows.bind(py).cast::<PyTuple>()?)
        })
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

    /// Return one dict for each machine, as `pandas.DataFrame` accepts them.
    ///
    /// The results are read from the state store by the first call. polars infers the type of a
    /// column from the first 100 rows: give it `to_columns()`.
    ///
    /// Returns:
    ///     Dicts of run_id, row (from 0), tenant_id, machine (as passed; of a Machine, its name),
    ///     computer_dns_name, machine_id, action_id, correlation_id, status, ok, reason, message,
    ///     start_time and end_time (as `Outcome.to_dict()` has them), exit_code (the first that is
    ///     not 0), stdout and stderr (of all scripts, for display; None without a script), and
    ///     files (where they were saved).
    ///
    /// Raises:
    ///     StateError: the state store cannot be read.
    fn to_dicts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        Ok(self.table(py)?.rows.bind(py).clone())
    }

    /// Return the columns of `to_dicts()`, for `polars.DataFrame` and `pandas.DataFrame`.
    ///
    /// Returns:
    ///     A tuple with the value of each row, by the name of the column.
    ///
    /// Raises:
    ///     StateError: the state store cannot be read.
    fn to_columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.table(py)?.columns.bind(py).copy()
    }

    /// Return the records that all scripts printed, as one table.
    ///
    /// `ScriptOutput.records()` says what a record is. Each begins with `machine` and
    /// `machine_id`, as in `to_dicts()`. If a record has one of these names itself, its own value
    /// is kept under `script_machine` or `script_machine_id`. A script that failed has the records
    /// that it printed; a row without a session has none. Reads the results from the state store.
    ///
    /// Args:
    ///     strict: raise for output that is no table. Default False: it is left out, and one
    ///         WARNING names its machines.
    ///
    /// Returns:
    ///     The records, in the order of the rows and of their commands. Records of different
    ///     scripts may have different keys. For polars, pass `infer_schema_length=None`.
    ///
    /// Raises:
    ///     ValueError: `strict`, and a script printed something that is no table.
    ///     StateError: the state store cannot be read.
    #[pyo3(signature = (*, strict=false))]
    fn records<'py>(
        slf: Bound<'py, Self>,
        #[pyo3(from_py_with = named::strict)] strict: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _inside = enter(slf.py());
        let records = slf.py().import("mde_live_response._records")?;
        records.call_method1("report_records", (slf, strict))
    }

    /// Return the run id and the outcomes, without their results, as a JSON-ready dict.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let outcomes = self.core_outcomes(py)?;
        ReportView { run_id: &self.run_id, outcomes: &outcomes }.to_json_ready(py)
    }

    /// Return how often an outcome is in the report.
    #[pyo3(signature = (value, /))]
    fn count(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.outcomes.bind(py).as_sequence().count(value)
    }

    /// Return the row of an outcome.
    ///
    /// Args:
    ///     value: an outcome.
    ///     start: the first row to look at. Default 0.
    ///     stop: the row before which to stop. Default: the end.
    ///
    /// Raises:
    ///     ValueError: it is not there.
    #[pyo3(signature = (value, start=0, stop=isize::MAX, /))]
    fn index<'py>(
        &self,
        py: Python<'py>,
        value: &Bound<'py, PyAny>,
        start: isize,
        stop: isize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _inside = enter(py);
        self.outcomes.bind(py).call_method1("index", (value, start, stop))
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
        to_html(slf)
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
