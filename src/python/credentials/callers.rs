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
use crate::python::errors::raised;
use crate::secret::Secret;

/// A credential of the caller's: azure-identity's, or a function; it may be asynchronous.
pub struct PythonCredential {
    /// `_credential.Source`, which asks it on threads of Python's own: it may take its time, and the core's threads are few.
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
        let source = py.import("mde_live_response._credential")?.call_method1("Source", (credential, scope))?;
        Ok(Self { source: source.unbind() })
    }

    async fn fetch_token(&self, claims: Option<String>) -> Result<AccessToken> {
        let (resolve, resolved) = oneshot::channel();
        Python::attach(|py| self.ask(py, resolve, claims)).map_err(raised)?;
        let cut_off = |_| raised(PyRuntimeError::new_err("the credential's thread ended without an answer"));
        let value = resolved.await.map_err(cut_off)?.map_err(raised)?;
        let described = match Python::attach(|py| awaited(py, &value)).map_err(raised)? {
            Some(coroutine) => {
                let caught = coroutine.await.map_err(raised)?;
                Python::attach(|py| answer(caught.bind(py))).map_err(raised)?
            }
            None => value,
        };
        Python::attach(|py| token(py, &described)).map_err(raised)
    }

    fn ask(
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
                    let _ = resolve.send(answer(arguments.as_any()));
                }
                PyResult::Ok(())
            },
        )?;
        self.source.call_method1(py, "fetch", (resolve, claims)).map(drop)
    }
}

/// What the credential came to, of `(value, exception)`.
fn answer(outcome: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let (value, error): (Py<PyAny>, Option<Bound<'_, PyAny>>) = outcome.extract()?;
    error.map_or(Ok(value), |error| Err(PyErr::from_value(error)))
}

/// The future of a value that is yet to be awaited, on the loop that `_credential` keeps for it.
fn awaited(
    py: Python<'_>,
    value: &Py<PyAny>,
) -> PyResult<Option<impl Future<Output = PyResult<Py<PyAny>>> + Send + use<>>> {
    let value = value.bind(py);
    if !value.hasattr("__await__")? {
        return Ok(None);
    }
    let own_loop = py.import("mde_live_response._credential")?.call_method0("own_loop")?;
    into_future_with_locals(&TaskLocals::new(own_loop), value.clone()).map(Some)
}

/// The token of `(token, expiry)`.
fn token(py: Python<'_>, described: &Py<PyAny>) -> PyResult<AccessToken> {
    let (token, expires_on): (Bound<'_, PyString>, Option<f64>) = described.bind(py).extract()?;
    Ok(AccessToken::new(Secret::new(&*token.to_cow()?), expires_on))
}
