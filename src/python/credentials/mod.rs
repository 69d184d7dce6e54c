//! Credentials: the caller's, this package's, and those of the environment.

mod native;
mod python_credential;

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyString;

pub use native::{
    ClientCertificateCredential, ClientSecretCredential, ManagedIdentityCredential,
    WorkloadIdentityCredential,
};

use crate::auth::{Environment, Identity, ResolvedCredential, TokenSource};
use crate::clock::Clock;
use crate::config::ClientOptions;
use crate::error::Result;
use crate::python::arguments::{Argument, Refusal, Shape};
use crate::python::callers_object::CallersObject;
use crate::python::errors::from_pyerr;
use crate::python::gil_gate::enter;
use crate::secret::Secret;
use crate::transport::Transport;

/// The credential of a client. A forked child makes a new token source from it.
pub enum CredentialSource {
    Identity(Identity),
    Python(CallersObject),
}

impl<'a, 'py> Argument<'a, 'py> for CredentialSource {
    const TAKES: &'static str =
        "a token, a function that returns one or an object with azure-identity's get_token";
    const SHAPE: Shape = Shape::Function;

    fn read(credential: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        let _inside = enter(credential.py());
        if let Some(identity) = native::identity_of(credential) {
            return Ok(Self::Identity(identity?));
        }
        if credential.is_instance_of::<PyString>() {
            return Ok(Self::Identity(Identity::Token(Secret::new(<&str>::read(credential)?))));
        }
        // azure-identity has both forms; some credentials have only the newer one.
        let usable = credential.hasattr("get_token")?
            || credential.hasattr("get_token_info")?
            || credential.is_callable();
        if usable {
            Ok(Self::Python(CallersObject::new(credential.clone().unbind())))
        } else {
            Err(Refusal::Type)
        }
    }
}

impl CredentialSource {
    pub fn from_environment(py: Python<'_>) -> PyResult<Self> {
        let _inside = enter(py);
        match Environment(&env_var).resolve_credential()? {
            ResolvedCredential::Identity(identity) => Ok(Self::Identity(identity)),
            ResolvedCredential::AzureCli(tenant_id) => {
                let class = py.import("mde_live_response")?.getattr("AzureCliCredential")?;
                Ok(Self::Python(CallersObject::new(class.call1((tenant_id,))?.unbind())))
            }
        }
    }

    pub fn tenant_id(&self) -> Option<String> {
        match self {
            Self::Identity(identity) => identity.tenant_id().map(str::to_owned),
            Self::Python(_) => None,
        }
    }

    pub fn token_source(
        &self,
        py: Python<'_>,
        options: &ClientOptions,
        transport: &Arc<dyn Transport>,
        clock: Clock,
    ) -> Result<Arc<dyn TokenSource>> {
        match self {
            Self::Identity(identity) => identity.token_source(options, transport, clock),
            Self::Python(credential) => {
                let source =
                    python_credential::PythonCredential::new(py, credential.get(), &options.scope)
                        .map_err(from_pyerr)?;
                Ok(Arc::new(source))
            }
        }
    }
}

fn env_var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
