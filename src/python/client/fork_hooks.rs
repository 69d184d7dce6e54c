//! The quotas and connections that this process shares between its clients. The stores are flushed
//! at exit and closed around a fork.

use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::limits::QuotaRegistry;
use crate::python::gil_gate;
use crate::python::runtime::{CoreTask, ProcessLocal, run_blocking};
use crate::transport::http::HttpClientRegistry;

type Shared<T> = Mutex<Option<ProcessLocal<Arc<T>>>>;

static QUOTAS: Shared<QuotaRegistry> = Mutex::new(None);
static HTTP_CLIENTS: Shared<HttpClientRegistry> = Mutex::new(None);

/// Returns the quotas of this process.
pub fn get_or_create_quotas(_gil: Python<'_>) -> Arc<QuotaRegistry> {
    get_or_create(&QUOTAS)
}

/// Returns the HTTP clients of this process.
pub fn http_clients(_gil: Python<'_>) -> Arc<HttpClientRegistry> {
    get_or_create(&HTTP_CLIENTS)
}

fn get_or_create<T: Default>(shared: &Shared<T>) -> Arc<T> {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(existing) = shared.as_ref().and_then(ProcessLocal::get) {
        return existing.clone();
    }
    let created = Arc::new(T::default());
    // In a forked child, this abandons the parent's.
    *shared = Some(ProcessLocal::new(created.clone()));
    created
}

fn existing_quotas() -> Option<Arc<QuotaRegistry>> {
    let quotas = QUOTAS.lock().unwrap_or_else(PoisonError::into_inner);
    quotas.as_ref().and_then(ProcessLocal::get).cloned()
}

#[pyfunction]
fn before_fork(py: Python<'_>) {
    // SQLite's file locks belong to the process: a child that inherits an open file breaks
    // them.
    if let Some(quotas) = existing_quotas() {
        gil_gate::detach(py, || quotas.quiesce());
    }
}

#[pyfunction]
fn after_fork_in_parent(py: Python<'_>) {
    if let Some(quotas) = existing_quotas() {
        gil_gate::detach(py, || quotas.reopen());
    }
}

/// Writes what the shared stores have not written yet, at exit.
pub fn flush_quotas(py: Python<'_>) -> PyResult<()> {
    let shared = existing_quotas().map(|quotas| quotas.shared_with_others()).unwrap_or_default();
    if shared.is_empty() {
        return Ok(());
    }
    // Other processes rely on the last writes, such as the end of a session.
    let flushed = async move {
        for quota in shared {
            quota.flush().await;
        }
        Ok(())
    };
    run_blocking(py, CoreTask::without_client(flushed)).map(drop)
}

/// Registers the fork hooks.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let os = py.import("os")?;
    // Windows has no fork.
    if os.hasattr("register_at_fork")? {
        let hooks = PyDict::new(py);
        hooks.set_item("before", pyo3::wrap_pyfunction!(before_fork, module)?)?;
        hooks.set_item("after_in_parent", pyo3::wrap_pyfunction!(after_fork_in_parent, module)?)?;
        os.call_method("register_at_fork", (), Some(&hooks))?;
    }
    Ok(())
}
