//! Loads the trusted certificate authorities.

use std::path::{Path, PathBuf};

use reqwest::Certificate;

use crate::error::{Error, Result};

/// Returns the system's authorities and those of `bundle`, or else of REQUESTS_CA_BUNDLE. If there
/// are none although they are `needed`, that is an error.
pub fn load_roots(bundle: Option<&Path>, needed: bool) -> Result<Vec<Certificate>> {
    let native = rustls_native_certs::load_native_certs();
    let mut roots = Vec::new();
    for certificate in &native.certs {
        // A malformed root of the system is skipped, as other TLS clients do.
        roots.extend(Certificate::from_der(certificate));
    }
    if let Some(path) = bundle.map(PathBuf::from).or_else(bundle_from_env) {
        roots.extend(read_bundle(&path)?);
    }
    // Reported here: a TLS handshake would fail with a less helpful message.
    if roots.is_empty() && needed {
        let why = native
            .errors
            .first()
            .map_or_else(|| "the store is empty".to_owned(), ToString::to_string);
        return Err(Error::invalid(format!(
            "no certificate authorities could be loaded: {why}"
        ))
        .with_hint(
            "install the ca-certificates of the system, correct SSL_CERT_FILE, or give a PEM file \
             in ca_bundle",
        ));
    }
    Ok(roots)
}

fn bundle_from_env() -> Option<PathBuf> {
    std::env::var_os("REQUESTS_CA_BUNDLE").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Reads a file of certificates, or every such file of a directory as OpenSSL and requests do.
fn read_bundle(path: &Path) -> Result<Vec<Certificate>> {
    if !path.is_dir() {
        return read_file(path);
    }
    let entries = std::fs::read_dir(path)
        .map_err(|error| Error::invalid(format!("CA bundle {}: {error}", path.display())))?;
    let mut roots = Vec::new();
    for entry in entries.flatten() {
        // A directory of certificates also holds other files, such as revocation lists.
        roots.extend(read_file(&entry.path()).unwrap_or_default());
    }
    if roots.is_empty() {
        return Err(Error::invalid(format!(
            "CA bundle {}: no file of the directory holds a certificate",
            path.display()
        ))
        .with_hint("give a file of PEM certificates, or a directory of such files"));
    }
    Ok(roots)
}

fn read_file(path: &Path) -> Result<Vec<Certificate>> {
    let unusable = |why: String| {
        Error::invalid(format!("CA bundle {}: {why}", path.display()))
            .with_hint("give a file of PEM certificates")
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|_| unusable("it is not PEM".to_owned()))?;
    if certificates.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(certificates)
}
