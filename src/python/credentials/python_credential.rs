//! The caller's credential, called in Python threads.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};
use tokio::sync::oneshot;

use crate::auth::{AccessToken, TokenSource};
use crate::error::Result;
use crate::python::callers_object::CallersObject;
use crate::python::errors::from_pyerr;
use crate::python::gil_gate::{self, call_python, enter};
use crate::secret::Secret;

/// The caller's credential: one of azure-identity or a function, synchronous or not.
pub struct PythonCredential {
    /// `_credential.CredentialAdapter`. It calls the credential in threads of its own: a slow
    /// credential must not block the core's few threads.
    adapter: CallersObject,
}

impl TokenSource for PythonCredential {
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        self.fetch_token(claims).boxed()
    }

    fn describe(&self) -> String {
        "the caller's credential".to_owned()
    }
}

impl PythonCredential {
    pub fn new(py: Python<'_>, credential: Option<&Py<PyAny>>, scope: &str) -> PyResult<Self> {
        let _inside = enter(py);
        let adapter = py
            .import("mde_live_response._credential")?
            .call_method1("CredentialAdapter", (credential, scope))?;
        Ok(Self { adapter: CallersObject::new(adapter.unbind()) })
    }

    async fn fetch_token(&self, claims: Option<String>) -> Result<AccessToken> {
        let (resolve, resolved) = oneshot::channel();
        with_python(|py| self.start_fetch(py, resolve, claims))?;
        let thread_ended = |_| {
            from_pyerr(PyRuntimeError::new_err("the credential's thread ended without a result"))
        };
        let token_and_expiry = resolved.await.map_err(thread_ended)?.map_err(from_pyerr)?;
        with_python(|py| parse_token(py, &token_and_expiry))
    }

    fn start_fetch(
        &self,
        py: Python<'_>,
        resolve: oneshot::Sender<PyResult<Py<PyAny>>>,
        claims: Option<String>,
    ) -> PyResult<()> {
        let resolve = Mutex::new(Some(resolve));
        let resolve = PyCFunction::new_closure(
            py,
            None,
            None,
            move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                let resolve = resolve.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(resolve) = resolve {
                    // The send fails if the call that needed the token has ended.
                    let _ = resolve.send(unwrap_outcome(arguments.as_any()));
                }
                PyResult::Ok(())
            },
        )?;
        let Some(adapter) = self.adapter.get() else { return Ok(()) };
        let work = adapter.bind(py).call_method1("fetch", (resolve, claims))?;
        if work.is_none() {
            return Ok(());
        }
        // The interpreter starts no thread any more: this one does the work.
        call_python(&work, ()).map(drop)
    }
}

/// Runs short Python code in a thread of the core.
fn with_python<T>(act: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
    let exiting = || from_pyerr(PyRuntimeError::new_err("the interpreter is exiting"));
    gil_gate::attach(act).ok_or_else(exiting)?.map_err(from_pyerr)
}

/// Returns the value of `(value, exception)`, or raises the exception.
fn unwrap_outcome(outcome: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let (value, error): (Py<PyAny>, Option<Bound<'_, PyAny>>) = outcome.extract()?;
    error.map_or(Ok(value), |error| Err(PyErr::from_value(error)))
}

/// Reads `(token, expiry)`.
fn parse_token(py: Python<'_>, token_and_expiry: &Py<PyAny>) -> PyResult<AccessToken> {
    let (token, expires_on): (Bound<'_, PyString>, Option<f64>) =
        token_and_expiry.bind(py).extract()?;
    Ok(AccessToken::new(Secret::new(&*token.to_cow()?), expires_on))
}
