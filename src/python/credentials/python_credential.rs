//! The caller's credential, called in Python threads.

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

/// The caller's credential: one of azure-identity or a function, synchronous or not.
pub struct PythonCredential {
    /// `_credential.CredentialAdapter`. It calls the credential in threads of its own: a slow
    /// credential must not block the core's few threads.
    adapter: Py<PyAny>,
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
    pub fn new(py: Python<'_>, credential: &Py<PyAny>, scope: &str) -> PyResult<Self> {
        let adapter = py
            .import("mde_live_response._credential")?
            .call_method1("CredentialAdapter", (credential, scope))?;
        Ok(Self { adapter: adapter.unbind() })
    }

    async fn fetch_token(&self, claims: Option<String>) -> Result<AccessToken> {
        let (resolve, resolved) = oneshot::channel();
        Python::attach(|py| self.start_fetch(py, resolve, claims)).map_err(from_pyerr)?;
        let thread_ended = |_| {
            from_pyerr(PyRuntimeError::new_err("the credential's thread ended without a result"))
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
                    // The send fails if the call that needed the token has ended.
                    let _ = resolve.send(unwrap_outcome(arguments.as_any()));
                }
                PyResult::Ok(())
            },
        )?;
        self.adapter.call_method1(py, "fetch", (resolve, claims)).map(drop)
    }
}

/// Returns the value of `(value, exception)`, or raises the exception.
fn unwrap_outcome(outcome: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let (value, error): (Py<PyAny>, Option<Bound<'_, PyAny>>) = outcome.extract()?;
    error.map_or(Ok(value), |error| Err(PyErr::from_value(error)))
}

/// Returns a future for an awaitable value. It runs in the event loop that `_credential` keeps.
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

/// Reads `(token, expiry)`.
fn parse_token(py: Python<'_>, token_and_expiry: &Py<PyAny>) -> PyResult<AccessToken> {
    let (token, expires_on): (Bound<'_, PyString>, Option<f64>) =
        token_and_expiry.bind(py).extract()?;
    Ok(AccessToken::new(Secret::new(&*token.to_cow()?), expires_on))
}
