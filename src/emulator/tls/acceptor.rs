//! Accepts TLS connections with a certificate that the emulator signed, or with one from files.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::emulator::tls::authority::Authority;
use crate::emulator::tls::files;
use crate::error::{Error, Kind, Result};

/// The argument that names the files, for errors.
const FILES: &str = "certificate";

/// Returns an acceptor with a new certificate for `names`.
pub fn signed(authority: &Authority, names: Vec<String>) -> Result<TlsAcceptor> {
    let signed = authority.sign(names)?;
    acceptor(vec![signed.certificate], signed.key).map_err(|error| {
        Error::new(Kind::Service, format!("failed to set up TLS for the emulator: {error}"))
    })
}

/// Returns an acceptor with the certificate of a PEM file, with its chain, and with the key of
/// another.
pub fn from_files(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let no_certificate = |why: &str| files::unusable(FILES, certificate, why);
    let text =
        std::fs::read(certificate).map_err(|error| files::unusable(FILES, certificate, error))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text)
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| no_certificate("it is not PEM"))?;
    if chain.is_empty() {
        return Err(no_certificate("it has no certificate"));
    }
    let mut file = File::open(key).map_err(|error| files::unusable(FILES, key, error))?;
    let text = files::read_key(FILES, key, &mut file)?;
    if text.contains("ENCRYPTED") {
        return Err(files::unusable(FILES, key, "it is encrypted; give a key without a password"));
    }
    let private_key = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| files::unusable(FILES, key, "it has no private key in PEM"))?;
    acceptor(chain, private_key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let why = format!("it is not the key of {}", files::shown(certificate));
            files::unusable(FILES, key, why)
        }
        rustls::Error::InvalidCertificate(_) => no_certificate("it is not a certificate"),
        error => files::unusable(FILES, key, error),
    })
}

fn acceptor(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> std::result::Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
