//! `Run`.

use pyo3::prelude::*;
use pyo3::types::PyDateTime;

use super::common::{common_methods, into_model};
use super::json_ready::json_dict;
use super::shared::Shared;
use super::values;
use crate::model::Timestamp;
use crate::state::run_store::RunSummary;
use crate::text::printable;

/// A run over many machines, as the state store has it.
#[pyclass(frozen, module = "mde_live_response")]
pub struct Run {
    core: Shared<RunSummary>,
}

into_model! { RunSummary => Run {} }

json_dict! { RunSummary, |run| {
    "run_id": run.run_id,
    "comment": run.comment,
    "created": Timestamp::from_unix(run.created),
    "machines": run.machines,
    "done": run.done,
    "ok": run.ok,
    "cancelled": run.cancelled,
} }

common_methods! {
    Run;
    // Without the start, which the id implies: pickling keeps it as exactly as a datetime does.
    equal: |one, other| {
        RunSummary { created: 0.0, ..one.clone() } == RunSummary { created: 0.0, ..other.clone() }
    };
    hash: |run| (&run.run_id, run.done);
    methods {
        /// The run's id, for `resume`.
        #[getter]
        fn run_id(&self) -> &str {
            &self.core.run_id
        }

        /// The comment that the run was started with.
        #[getter]
        fn comment(&self) -> &str {
            &self.core.comment
        }

        /// When the run was started, in UTC.
        #[getter]
        fn created<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyDateTime>>> {
            values::to_datetime(py, Timestamp::from_unix(self.core.created))
        }

        /// The number of machines, as given: a machine listed twice counts twice.
        #[getter]
        fn machines(&self) -> u32 {
            self.core.machines
        }

        /// How many machines have their outcome.
        #[getter]
        fn done(&self) -> u32 {
            self.core.done
        }

        /// How many machines have the outcome `ok`.
        #[getter]
        fn ok(&self) -> u32 {
            self.core.ok
        }

        /// Whether the run was cancelled. Sessions that ran then may still end.
        #[getter]
        fn cancelled(&self) -> bool {
            self.core.cancelled
        }

        fn __repr__(&self) -> String {
            let RunSummary { run_id, machines, done, ok, cancelled, .. } = &*self.core;
            let cancelled = if *cancelled { ", cancelled" } else { "" };
            printable(&format!(
                "<Run {run_id}: {done} of {machines} machines done, {ok} ok{cancelled}>"
            ))
            .into_owned()
        }
    }
}
