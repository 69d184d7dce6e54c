//! Where tokens come from: what the caller passes, or the environment.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyString, PyTuple};
use tokio::sync::oneshot;

use super::errors::{raised, to_python};
use crate::auth::{AccessToken, ClientSecret, ClientSecretSource, StaticToken, TokenSource};
use crate::clock::Clock;
use crate::config::Options;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::transport::Transport;

/// Get tokens by OAuth2 client credentials, without azure-identity.
///
/// Its repr, its errors and its pickles never hold the secret.
///
/// Args:
///     tenant_id: the tenant's id or one of its domain names.
///     client_id: the application's id.
///     client_secret: the application's secret.
///     authority: the login host; None: that of the client's cloud.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ClientSecretCredential {
    tenant_id: String,
    client_id: String,
    client_secret: Secret,
    authority: Option<String>,
}

#[pymethods]
impl ClientSecretCredential {
    #[new]
    #[pyo3(signature = (tenant_id, client_id, client_secret, *, authority=None))]
    fn new(tenant_id: String, client_id: String, client_secret: &str, authority: Option<String>) -> Self {
        Self { tenant_id, client_id, client_secret: Secret::new(client_secret), authority }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a ClientSecretCredential is not pickled: its secret would be in the pickle"))
    }

    fn __repr__(&self) -> String {
        format!("<ClientSecretCredential of {} in {}>", self.client_id, self.tenant_id)
    }
}

/// What a client was given to get tokens by: enough to make its source again in a forked child.
pub enum Given {
    Token(Secret),
    ClientSecret { tenant_id: String, client_id: String, secret: Secret, authority: Option<String> },
    Python(Py<PyAny>),
}

impl Given {
    pub fn new(py: Python<'_>, credential: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(credential) = credential else { return from_environment().map_err(|error| to_python(py, error)) };
        if let Ok(own) = credential.cast::<ClientSecretCredential>() {
            let own = own.get();
            return Ok(Self::ClientSecret {
                tenant_id: own.tenant_id.clone(),
                client_id: own.client_id.clone(),
                secret: own.client_secret.clone(),
                authority: own.authority.clone(),
            });
        }
        if let Ok(token) = credential.cast::<PyString>() {
            return Ok(Self::Token(Secret::new(&*token.to_cow()?)));
        }
        let usable =
            credential.hasattr("get_token")? || credential.hasattr("get_token_info")? || credential.is_callable();
        if usable { Ok(Self::Python(credential.clone().unbind())) } else { Err(not_a_credential(credential)) }
    }

    pub fn source(
        &self,
        py: Python<'_>,
        options: &Options,
        transport: &Arc<dyn Transport>,
        clock: Clock,
    ) -> Result<Arc<dyn TokenSource>> {
        Ok(match self {
            Self::Token(token) => Arc::new(StaticToken::new(token.clone(), clock)?),
            Self::ClientSecret { tenant_id, client_id, secret, authority } => {
                let secret = ClientSecret {
                    tenant_id: tenant_id.clone(),
                    client_id: client_id.clone(),
                    secret: secret.clone(),
                    authority: authority.clone().unwrap_or_else(|| options.authority.clone()),
                    scope: options.scope.clone(),
                };
                Arc::new(ClientSecretSource::new(transport.clone(), clock, secret, options.request_timeout)?)
            }
            Self::Python(credential) => {
                Arc::new(PythonCredential::new(py, credential, &options.scope).map_err(raised)?)
            }
        })
    }
}

fn not_a_credential(credential: &Bound<'_, PyAny>) -> PyErr {
    let class = credential.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    let hint = "give a token, a function that returns one, or an object with azure-identity's get_token";
    to_python(credential.py(), Error::invalid(format!("a {class} is no credential")).with_hint(hint))
}

fn from_environment() -> Result<Given> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let missing =
        ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"].into_iter().filter(|name| set(name).is_none());
    let missing: Vec<_> = missing.collect();
    let (Some(tenant_id), Some(client_id), Some(secret)) =
        (set("AZURE_TENANT_ID"), set("AZURE_CLIENT_ID"), set("AZURE_CLIENT_SECRET"))
    else {
        let message = format!("no credential was given, and the environment lacks {}", missing.join(", "));
        return Err(Error::invalid(message).with_hint("set them, or pass a credential to the client"));
    };
    Ok(Given::ClientSecret {
        tenant_id,
        client_id,
        secret: Secret::new(secret),
        authority: set("AZURE_AUTHORITY_HOST"),
    })
}

/// A credential of the caller's: azure-identity's, or a function; it may be asynchronous.
struct PythonCredential {
    /// `_credential.Source`, which asks it on threads of Python's own: it may take its time, and the core's threads are few.
    source: Py<PyAny>,
}

impl TokenSource for PythonCredential {
    fn fetch(&self) -> BoxFuture<'_, Result<AccessToken>> {
        self.fetch_token().boxed()
    }

    fn describe(&self) -> String {
        "a credential of the caller's".to_owned()
    }
}

impl PythonCredential {
    fn new(py: Python<'_>, credential: &Py<PyAny>, scope: &str) -> PyResult<Self> {
        let source = py.import("mde_live_response._credential")?.call_method1("Source", (credential, scope))?;
        Ok(Self { source: source.unbind() })
    }

    async fn fetch_token(&self) -> Result<AccessToken> {
        let (resolve, resolved) = oneshot::channel();
        Python::attach(|py| self.ask(py, resolve)).map_err(raised)?;
        let cut_off = |_| raised(PyRuntimeError::new_err("the credential's thread ended without an answer"));
        resolved.await.map_err(cut_off)?.map_err(raised)
    }

    fn ask(&self, py: Python<'_>, resolve: oneshot::Sender<PyResult<AccessToken>>) -> PyResult<()> {
        let resolve = Mutex::new(Some(resolve));
        let resolve = PyCFunction::new_closure(
            py,
            None,
            None,
            move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                let resolve = resolve.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(resolve) = resolve {
                    // Err when nobody waits for the token any more.
                    let _ = resolve.send(answer(arguments));
                }
                PyResult::Ok(())
            },
        )?;
        self.source.call_method1(py, "fetch", (resolve,)).map(drop)
    }
}

/// What the credential's thread came to: a token and its expiry, or an exception.
fn answer(arguments: &Bound<'_, PyTuple>) -> PyResult<AccessToken> {
    type Described<'py> = Option<(Bound<'py, PyString>, Option<f64>)>;
    let (described, error): (Described<'_>, Option<Bound<'_, PyAny>>) = arguments.extract()?;
    match (described, error) {
        (Some((token, expires_on)), None) => Ok(AccessToken::new(Secret::new(&*token.to_cow()?), expires_on)),
        (_, Some(error)) => Err(PyErr::from_value(error)),
        (None, None) => Err(PyRuntimeError::new_err("the credential's thread gave neither a token nor an error")),
    }
}
