//! Where tokens come from: what the caller passes, or the environment.

mod callers;
mod classes;

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyString;

pub use classes::{
    ClientCertificateCredential, ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential,
};

use super::errors::{raised, to_python};
use crate::auth::{Found, Identity, TokenSource, Variables};
use crate::clock::Clock;
use crate::config::Options;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::transport::Transport;

/// What a client was given to get tokens by: enough to make its source again in a forked child.
pub enum Given {
    Own(Identity),
    Python(Py<PyAny>),
}

impl Given {
    pub fn new(py: Python<'_>, credential: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let Some(credential) = credential else { return Self::from_environment(py) };
        if let Some(identity) = classes::identity(credential) {
            return identity.map(Self::Own).map_err(|error| to_python(py, error));
        }
        if let Ok(token) = credential.cast::<PyString>() {
            return Ok(Self::Own(Identity::Token(Secret::new(&*token.to_cow()?))));
        }
        let usable =
            credential.hasattr("get_token")? || credential.hasattr("get_token_info")? || credential.is_callable();
        if usable { Ok(Self::Python(credential.clone().unbind())) } else { Err(not_a_credential(credential)) }
    }

    fn from_environment(py: Python<'_>) -> PyResult<Self> {
        match Variables(&environment).find().map_err(|error| to_python(py, error))? {
            Found::Identity(identity) => Ok(Self::Own(identity)),
            Found::AzureCli(tenant_id) => {
                let class = py.import("mde_live_response")?.getattr("AzureCliCredential")?;
                Ok(Self::Python(class.call1((tenant_id,))?.unbind()))
            }
        }
    }

    pub fn tenant_id(&self) -> Option<String> {
        match self {
            Self::Own(identity) => identity.tenant_id().map(str::to_owned),
            Self::Python(_) => None,
        }
    }

    pub fn source(
        &self,
        py: Python<'_>,
        options: &Options,
        transport: &Arc<dyn Transport>,
        clock: Clock,
    ) -> Result<Arc<dyn TokenSource>> {
        match self {
            Self::Own(identity) => identity.source(options, transport, clock),
            Self::Python(credential) => {
                let source = callers::PythonCredential::new(py, credential, &options.scope).map_err(raised)?;
                Ok(Arc::new(source))
            }
        }
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn not_a_credential(credential: &Bound<'_, PyAny>) -> PyErr {
    let class = credential.get_type().name().map(|name| name.to_string()).unwrap_or_default();
    let hint = "give a token, a function that returns one, or an object with azure-identity's get_token";
    to_python(credential.py(), Error::invalid(format!("a {class} is no credential")).with_hint(hint))
}
