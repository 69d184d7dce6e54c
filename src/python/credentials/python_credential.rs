//! A credential of the caller's own, asked on threads of Python's own.

use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};
use pyo3_async_runtimes::{TaskLocals, into_future_with_locals};
use tokio::sync::oneshot;

use crate::auth::{AccessToken, TokenSource};
use crate::error::Result;
use crate::python::errors::from_pyerr;
use crate::secret::Secret;

/// A credential of the caller's: azure-identity's, or a function; it may be asynchronous.
pub struct PythonCredential {
    /// `_credential.CredentialAdapter`, which asks it on threads of Python's own: it may take its time, and the core's threads are few.
    source: Py<PyAny>,
}

impl TokenSource for PythonCredential {
    fn fetch(&self, claims: Option<String>) -> BoxFuture<'_, Result<AccessToken>> {
        self.fetch_token(claims).boxed()
    }

    fn describe(&self) -> String {
        "a credential of the caller's".to_owned()
    }
}

impl PythonCredential {
    pub fn new(py: Python<'_>, credential: &Py<PyAny>, scope: &str) -> PyResult<Self> {
        let source = py
            .import("mde_live_response._credential")?
            .call_method1("CredentialAdapter", (credential, scope))?;
        Ok(Self { source: source.unbind() })
    }

    async fn fetch_token(&self, claims: Option<String>) -> Result<AccessToken> {
        let (resolve, resolved) = oneshot::channel();
        Python::attach(|py| self.start_fetch(py, resolve, claims)).map_err(from_pyerr)?;
        let thread_ended = |_| {
            from_pyerr(PyRuntimeError::new_err("the credential's thread ended without an answer"))
        };
        let value = resolved.await.map_err(thread_ended)?.map_err(from_pyerr)?;
        let token_and_expiry =
            match Python::attach(|py| to_future(py, &value)).map_err(from_pyerr)? {
                Some(coroutine) => {
                    let outcome = coroutine.await.map_err(from_pyerr)?;
                    Python::attach(|py| unwrap_outcome(outcome.bind(py))).map_err(from_pyerr)?
                }
                None => value,
            };
        Python::attach(|py| parse_token(py, &token_and_expiry)).map_err(from_pyerr)
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
                    // Err when nobody waits for the token any more.
                    let _ = resolve.send(unwrap_outcome(arguments.as_any()));
                }
                PyResult::Ok(())
            },
        )?;
        self.source.call_method1(py, "fetch", (resolve, claims)).map(drop)
    }
}

/// What the credential came to, of `(value, exception)`.
fn unwrap_outcome(outcome: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let (value, error): (Py<PyAny>, Option<Bound<'_, PyAny>>) = outcome.extract()?;
    error.map_or(Ok(value), |error| Err(PyErr::from_value(error)))
}

/// The future of a value that is yet to be awaited, on the loop that `_credential` keeps for it.
fn to_future(
    py: Python<'_>,
    value: &Py<PyAny>,
) -> PyResult<Option<impl Future<Output = PyResult<Py<PyAny>>> + Send + use<>>> {
    let value = value.bind(py);
    if !value.hasattr("__await__")? {
        return Ok(None);
    }
    let shared_loop =
        py.import("mde_live_response._credential")?.call_method0("get_shared_loop")?;
    into_future_with_locals(&TaskLocals::new(shared_loop), value.clone()).map(Some)
}

/// The token of `(token, expiry)`.
fn parse_token(py: Python<'_>, token_and_expiry: &Py<PyAny>) -> PyResult<AccessToken> {
    let (token, expires_on): (Bound<'_, PyString>, Option<f64>) =
        token_and_expiry.bind(py).extract()?;
    Ok(AccessToken::new(Secret::new(&*token.to_cow()?), expires_on))
}
