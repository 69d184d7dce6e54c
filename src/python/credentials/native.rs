//! The credentials that need no azure-identity.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use super::env_var;
use crate::auth::{
    Certificate, ClientCredential, Environment, Identity, managed_identity, workload_identity,
};
use crate::error::Result;
use crate::python::errors::to_pyerr;
use crate::secret::Secret;

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
    application: ApplicationIdentity,
}

/// What an application's credentials have in common.
struct ApplicationIdentity {
    tenant_id: String,
    client_id: String,
    credential: ClientCredential,
    authority: Option<String>,
}

impl ApplicationIdentity {
    fn to_identity(&self) -> Identity {
        Identity::Application {
            tenant_id: self.tenant_id.clone(),
            client_id: self.client_id.clone(),
            credential: self.credential.clone(),
            authority: self.authority.clone(),
        }
    }

    fn to_repr(&self, class: &str) -> String {
        format!("<{class} of {} in {}>", self.client_id, self.tenant_id)
    }
}

fn not_picklable_error(class: &str, what: &str) -> PyErr {
    PyTypeError::new_err(format!("a {class} is not pickled: its {what} would be in the pickle"))
}

#[pymethods]
impl ClientSecretCredential {
    #[new]
    #[pyo3(signature = (tenant_id, client_id, client_secret, *, authority=None))]
    fn new(
        tenant_id: String,
        client_id: String,
        client_secret: &str,
        authority: Option<String>,
    ) -> Self {
        let credential = ClientCredential::Secret(Secret::new(client_secret));
        Self { application: ApplicationIdentity { tenant_id, client_id, credential, authority } }
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable_error("ClientSecretCredential", "secret"))
    }

    fn __repr__(&self) -> String {
        self.application.to_repr("ClientSecretCredential")
    }
}

/// Get tokens by a certificate: the application signs with its private key, and no secret goes over the wire.
///
/// The certificate is read here, once. The key has to be RSA of 2048 to 4096 bits; it signs by PS256, and the
/// certificate is named by its SHA-256. Its repr, its errors and its pickles never hold the key.
/// Its page: learn.microsoft.com/entra/identity-platform/certificate-credentials
///
/// Args:
///     tenant_id: the tenant's id or one of its domain names.
///     client_id: the application's id.
///     certificate: PEM with the private key, or PKCS#12 (.pfx, .p12): a path, or what the file holds, as bytes or as
///         PEM in a str.
///     password: that of the key or of the PKCS#12; None: it has none.
///     authority: the login host; None: that of the client's cloud.
///
/// Raises:
///     InvalidRequestError: the certificate can't be used, or the password is wrong; the hint says what to do.
///     OSError: the file can't be read.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ClientCertificateCredential {
    application: ApplicationIdentity,
}

#[pymethods]
impl ClientCertificateCredential {
    #[new]
    #[pyo3(signature = (tenant_id, client_id, certificate, *, password=None, authority=None))]
    fn new(
        tenant_id: String,
        client_id: String,
        certificate: &Bound<'_, PyAny>,
        password: Option<&str>,
        authority: Option<String>,
    ) -> PyResult<Self> {
        let password = password.map(Secret::new);
        let read = read_certificate(certificate, password.as_ref())?;
        let credential = ClientCredential::Certificate(Arc::new(
            read.map_err(|error| to_pyerr(certificate.py(), error))?,
        ));
        Ok(Self {
            application: ApplicationIdentity { tenant_id, client_id, credential, authority },
        })
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable_error("ClientCertificateCredential", "private key"))
    }

    fn __repr__(&self) -> String {
        self.application.to_repr("ClientCertificateCredential")
    }
}

fn read_certificate(
    given: &Bound<'_, PyAny>,
    password: Option<&Secret>,
) -> PyResult<Result<Certificate>> {
    if let Ok(bytes) = given.cast::<PyBytes>() {
        return Ok(Certificate::parse(bytes.as_bytes(), password));
    }
    if let Ok(text) = given.cast::<PyString>() {
        let text = text.to_cow()?;
        if text.contains("-----BEGIN ") {
            return Ok(Certificate::parse(text.as_bytes(), password));
        }
    }
    let path = given.extract::<PathBuf>().map_err(|_| {
        let class = given.get_type().name().map(|name| name.to_string()).unwrap_or_default();
        PyTypeError::new_err(format!("certificate takes a path or bytes, not {class}"))
    })?;
    Ok(Certificate::from_file(&path, password))
}

/// Get tokens by another issuer's token, as Kubernetes gives one to a pod (workload identity federation).
///
/// The file is read anew for every token, for the platform replaces it from time to time.
/// Its page: learn.microsoft.com/entra/workload-id/workload-identity-federation
///
/// Args:
///     tenant_id: the tenant's id or one of its domain names; None: AZURE_TENANT_ID.
///     client_id: the application's id; None: AZURE_CLIENT_ID.
///     token_file_path: the file; None: AZURE_FEDERATED_TOKEN_FILE.
///     authority: the login host; None: AZURE_AUTHORITY_HOST, else that of the client's cloud.
///
/// Raises:
///     InvalidRequestError: one is neither given nor in the environment; it is named.
#[pyclass(frozen, module = "mde_live_response")]
pub struct WorkloadIdentityCredential {
    application: ApplicationIdentity,
    token_file: PathBuf,
}

#[pymethods]
impl WorkloadIdentityCredential {
    #[new]
    #[pyo3(signature = (*, tenant_id=None, client_id=None, token_file_path=None, authority=None))]
    fn new(
        py: Python<'_>,
        tenant_id: Option<String>,
        client_id: Option<String>,
        token_file_path: Option<PathBuf>,
        authority: Option<String>,
    ) -> PyResult<Self> {
        match workload_identity(
            &Environment(&env_var),
            tenant_id,
            client_id,
            token_file_path,
            authority,
        ) {
            Ok(Identity::Application {
                tenant_id,
                client_id,
                credential: ClientCredential::FederatedToken(token_file),
                authority,
            }) => {
                let credential = ClientCredential::FederatedToken(token_file.clone());
                Ok(Self {
                    application: ApplicationIdentity {
                        tenant_id,
                        client_id,
                        credential,
                        authority,
                    },
                    token_file,
                })
            }
            Ok(_) => Err(PyTypeError::new_err("the environment names another identity")),
            Err(error) => Err(to_pyerr(py, error)),
        }
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((), Bound<'py, PyDict>)> {
        let arguments = PyDict::new(py);
        arguments.set_item("tenant_id", &self.application.tenant_id)?;
        arguments.set_item("client_id", &self.application.client_id)?;
        arguments.set_item("token_file_path", &self.token_file)?;
        arguments.set_item("authority", &self.application.authority)?;
        Ok(((), arguments))
    }

    fn __repr__(&self) -> String {
        self.application.to_repr("WorkloadIdentityCredential")
    }
}

/// Get tokens by the identity that Azure gives the machine, App Service or container that this runs on.
///
/// The platform is asked, past any proxy: an App Service by IDENTITY_ENDPOINT and IDENTITY_HEADER, else IMDS, whose
/// host AZURE_POD_IDENTITY_AUTHORITY_HOST replaces.
/// Its page: learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview
///
/// Args:
///     client_id: that of a user-assigned identity; None: AZURE_CLIENT_ID, else the system-assigned one.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ManagedIdentityCredential {
    client_id: Option<String>,
}

#[pymethods]
impl ManagedIdentityCredential {
    #[new]
    #[pyo3(signature = (*, client_id=None))]
    fn new(client_id: Option<String>) -> Self {
        Self { client_id }
    }

    fn __getnewargs_ex__<'py>(&self, py: Python<'py>) -> PyResult<((), Bound<'py, PyDict>)> {
        let arguments = PyDict::new(py);
        arguments.set_item("client_id", &self.client_id)?;
        Ok(((), arguments))
    }

    fn __repr__(&self) -> String {
        match &self.client_id {
            Some(client_id) => format!("<ManagedIdentityCredential of {client_id}>"),
            None => "<ManagedIdentityCredential>".to_owned(),
        }
    }
}

/// The identity of a credential of ours; None of any other object.
pub fn identity_of(credential: &Bound<'_, PyAny>) -> Option<Result<Identity>> {
    if let Ok(own) = credential.cast::<ClientSecretCredential>() {
        return Some(Ok(own.get().application.to_identity()));
    }
    if let Ok(own) = credential.cast::<ClientCertificateCredential>() {
        return Some(Ok(own.get().application.to_identity()));
    }
    if let Ok(own) = credential.cast::<WorkloadIdentityCredential>() {
        return Some(Ok(own.get().application.to_identity()));
    }
    let own = credential.cast::<ManagedIdentityCredential>().ok()?;
    Some(managed_identity(&Environment(&env_var), own.get().client_id.clone()))
}
