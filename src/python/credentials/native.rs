//! This package's credentials, which do not need azure-identity.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::env_var;
use crate::auth::{
    Certificate, ClientCredential, Environment, Identity, managed_identity, workload_identity,
};
use crate::error::Result;
use crate::python::arguments::{Argument, Refusal, Shape, named};
use crate::python::paths::PathArgument;
use crate::secret::Secret;

/// Get tokens with a client secret (OAuth2 client credentials), without azure-identity.
///
/// Its repr, errors and pickles never contain the secret.
///
/// Args:
///     tenant_id: the tenant's id or one of its domain names.
///     client_id: the application's id.
///     client_secret: the application's secret.
///     authority: the login host. None: that of the client's cloud.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ClientSecretCredential {
    application: ApplicationIdentity,
}

/// What the credentials of an application share.
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
    PyTypeError::new_err(format!("a {class} is not pickled: the pickle would contain its {what}"))
}

#[pymethods]
impl ClientSecretCredential {
    #[new]
    #[pyo3(signature = (tenant_id, client_id, client_secret, *, authority=None))]
    fn new(
        #[pyo3(from_py_with = named::tenant_id)] tenant_id: String,
        #[pyo3(from_py_with = named::client_id)] client_id: String,
        #[pyo3(from_py_with = named::client_secret)] client_secret: &str,
        #[pyo3(from_py_with = named::authority)] authority: Option<String>,
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

/// Get tokens with a certificate. The application signs with its private key; no secret is
/// sent.
///
/// The certificate is read once, by this call. The key is an RSA key of 2048 to 4096 bits and signs
/// with PS256. The repr, errors and pickles never contain the key.
/// The service's page: learn.microsoft.com/entra/identity-platform/certificate-credentials
///
/// Args:
///     tenant_id: the tenant's id or one of its domain names.
///     client_id: the application's id.
///     certificate: PEM with the private key, or PKCS#12 (.pfx, .p12): a path, the file's
///         content as bytes, or PEM as a str.
///     password: the password of the key or of the PKCS#12. None: it has none.
///     authority: the login host. None: that of the client's cloud.
///
/// Raises:
///     InvalidRequestError: the certificate cannot be used, or the password is wrong.
///     OSError: the file cannot be read.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ClientCertificateCredential {
    application: ApplicationIdentity,
}

#[pymethods]
impl ClientCertificateCredential {
    #[new]
    #[pyo3(signature = (tenant_id, client_id, certificate, *, password=None, authority=None))]
    fn new(
        #[pyo3(from_py_with = named::tenant_id)] tenant_id: String,
        #[pyo3(from_py_with = named::client_id)] client_id: String,
        #[pyo3(from_py_with = named::certificate)] certificate: CertificateArgument,
        #[pyo3(from_py_with = named::password)] password: Option<&str>,
        #[pyo3(from_py_with = named::authority)] authority: Option<String>,
    ) -> PyResult<Self> {
        let password = password.map(Secret::new);
        let certificate = certificate.parse(password.as_ref())?;
        let credential = ClientCredential::Certificate(Arc::new(certificate));
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

/// `str | PathLike[str] | bytes`: a certificate, or the path of its file.
enum CertificateArgument {
    Content(Vec<u8>),
    Path(PathBuf),
}

impl<'a, 'py> Argument<'a, 'py> for CertificateArgument {
    const TAKES: &'static str = "a path or bytes";
    const SHAPE: Shape = Shape::Path;

    fn read(object: &'a Bound<'py, PyAny>) -> Result<Self, Refusal<'py>> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Content(bytes.as_bytes().to_vec()));
        }
        match <&str>::read(object) {
            // Only PEM has this line, so any other text is a path.
            Ok(text) if text.contains("-----BEGIN ") => Ok(Self::Content(text.into())),
            _ => PathArgument::read(object).map(|path| Self::Path(path.0)),
        }
    }
}

impl CertificateArgument {
    fn parse(&self, password: Option<&Secret>) -> Result<Certificate> {
        match self {
            Self::Content(content) => Certificate::parse(content, password),
            Self::Path(path) => Certificate::from_file(path, password),
        }
    }
}

/// Get tokens with the token of another issuer, such as a pod's in Kubernetes (workload
/// identity federation).
///
/// The file is read again for every token, because the platform replaces it from time to time.
/// The service's page: learn.microsoft.com/entra/workload-id/workload-identity-federation
///
/// Args:
///     tenant_id: the tenant's id or one of its domain names. None: AZURE_TENANT_ID.
///     client_id: the application's id. None: AZURE_CLIENT_ID.
///     token_file_path: the file with the token. None: AZURE_FEDERATED_TOKEN_FILE.
///     authority: the login host. None: AZURE_AUTHORITY_HOST, else that of the client's cloud.
///
/// Raises:
///     InvalidRequestError: a value is neither given nor in the environment. The message names
///         it.
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
        #[pyo3(from_py_with = named::tenant_id)] tenant_id: Option<String>,
        #[pyo3(from_py_with = named::client_id)] client_id: Option<String>,
        #[pyo3(from_py_with = named::token_file_path)] token_file_path: Option<PathArgument>,
        #[pyo3(from_py_with = named::authority)] authority: Option<String>,
    ) -> PyResult<Self> {
        match workload_identity(
            &Environment(&env_var),
            tenant_id,
            client_id,
            token_file_path.map(|path| path.0),
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
            Ok(_) => Err(PyTypeError::new_err("the environment has another identity")),
            Err(error) => Err(error.into()),
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

/// Get tokens with the managed identity of the Azure machine, App Service or container that
/// this runs on.
///
/// The tokens come from an App Service's IDENTITY_ENDPOINT (with IDENTITY_HEADER), else from
/// IMDS, whose host is AZURE_POD_IDENTITY_AUTHORITY_HOST if that is set. No proxy is used.
/// The service's page:
/// learn.microsoft.com/entra/identity/managed-identities-azure-resources/overview
///
/// Args:
///     client_id: the client id of a user-assigned identity. None: AZURE_CLIENT_ID, else the
///         system-assigned identity.
#[pyclass(frozen, module = "mde_live_response")]
pub struct ManagedIdentityCredential {
    client_id: Option<String>,
}

#[pymethods]
impl ManagedIdentityCredential {
    #[new]
    #[pyo3(signature = (*, client_id=None))]
    fn new(#[pyo3(from_py_with = named::client_id)] client_id: Option<String>) -> Self {
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

/// Returns the identity of one of this package's credentials; None for any other object.
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
