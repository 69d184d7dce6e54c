//! The table of a report: one row for each outcome, as dicts and as columns.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::error::Result;
use crate::fleet::Outcome;
use crate::model::{ScriptOutput, Timestamp};
use crate::python::convert::IntoPython;
use crate::python::models::json_ready::{JsonReady, json_dict};
use crate::session::SessionResult;

/// The table as Python objects. Rows and columns share the values.
pub struct Table {
    pub rows: Py<PyTuple>,
    pub columns: Py<PyDict>,
}

impl Table {
    /// Makes the columns of dicts that have the same keys.
    pub fn new(py: Python<'_>, rows: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let columns = PyDict::new(py);
        if let Ok(first) = rows.get_item(0) {
            for name in first.cast::<PyDict>()?.keys() {
                let values: PyResult<Vec<_>> = rows.iter().map(|row| row.get_item(&name)).collect();
                columns.set_item(&name, PyTuple::new(py, values?)?)?;
            }
        }
        Ok(Self { rows: rows.clone().unbind(), columns: columns.unbind() })
    }
}

/// One row, in the order of the columns.
pub struct TableRow {
    run_id: Arc<str>,
    outcome: Arc<Outcome>,
    exit_code: Option<i64>,
    stdout: Option<String>,
    stderr: Option<String>,
    files: Vec<String>,
}

json_dict! { TableRow, |row| {
    "run_id": &*row.run_id,
    "row": row.outcome.row,
    "tenant_id": row.outcome.tenant_id,
    "machine": row.outcome.machine,
    "computer_dns_name": row.outcome.computer_dns_name,
    "machine_id": row.outcome.machine_id,
    "action_id": row.outcome.action_id,
    "correlation_id": row.outcome.correlation_id,
    "status": row.outcome.status,
    "ok": row.outcome.is_ok(),
    "reason": row.outcome.reason,
    "message": row.outcome.message,
    "start_time": row.outcome.started.and_then(Timestamp::from_unix),
    "end_time": Timestamp::from_unix(row.outcome.ended),
    "exit_code": row.exit_code,
    "stdout": row.stdout,
    "stderr": row.stderr,
    "files": row.files,
} }

impl IntoPython for TableRow {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.to_json_ready(py)?.unbind())
    }
}

impl TableRow {
    /// Makes the rows. Loads one result at a time: those of a large run do not fit into memory
    /// together.
    pub async fn load_all<F>(run_id: String, loads: Vec<(Arc<Outcome>, F)>) -> Result<Vec<Self>>
    where
        F: Future<Output = Result<Option<Arc<SessionResult>>>>,
    {
        let run_id: Arc<str> = run_id.into();
        let mut rows = Vec::with_capacity(loads.len());
        for (outcome, load) in loads {
            rows.push(Self::new(run_id.clone(), outcome, load.await?.as_deref()));
        }
        Ok(rows)
    }

    fn new(run_id: Arc<str>, outcome: Arc<Outcome>, result: Option<&SessionResult>) -> Self {
        let commands = || result.iter().flat_map(|result| &result.commands);
        let scripts = || commands().filter_map(|command| command.script.as_ref());
        let codes: Vec<i64> = scripts().filter_map(|script| script.exit_code).collect();
        // One failed script makes the row a failure, so its exit code is the one to show.
        let code = codes.iter().find(|code| **code != 0).or(codes.first());
        let files = commands().filter_map(|command| command.file.as_ref()?.path.clone());
        Self {
            run_id,
            exit_code: code.copied(),
            stdout: join(scripts().map(ScriptOutput::text)),
            stderr: join(scripts().map(ScriptOutput::stderr_text)),
            files: files.collect(),
            outcome,
        }
    }
}

/// Returns the texts of all scripts in one. None if there is no script.
fn join(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<String> = texts.collect();
    let printed: Vec<&str> = texts.iter().map(String::as_str).filter(|it| !it.is_empty()).collect();
    (!texts.is_empty()).then(|| printed.join("\n"))
}
