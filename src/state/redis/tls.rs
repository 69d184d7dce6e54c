//! Creates the Redis client, with the CA certificates that it trusts.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::{Client, TlsCertificates};
use rustls::RootCertStore;

use super::redis_error::to_error;
use crate::error::Result;
use crate::secret::Secret;
use crate::state::store_error::unusable_error;

/// Creates a client for `url`, which errors show as `address`.
///
/// Trusts the CA certificates of the system, and those of `bundle` or REQUESTS_CA_BUNDLE.
pub fn client(url: &Secret, address: &str, bundle: Option<&Path>) -> Result<Client> {
    // The redis crate uses the default crypto provider of the process, which may not be set yet.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bundle = bundle.map(PathBuf::from).or_else(bundle_from_env);
    let opened = match bundle.filter(|_| address.starts_with("rediss:")) {
        Some(bundle) => {
            let root_cert = Some(roots(address, &bundle)?);
            Client::build_with_tls(url.expose(), TlsCertificates { client_tls: None, root_cert })
        }
        None => Client::open(url.expose()),
    };
    opened.map_err(|error| to_error(address, &error))
}

fn bundle_from_env() -> Option<PathBuf> {
    std::env::var_os("REQUESTS_CA_BUNDLE").filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Returns the bundle and the CA certificates of the system as PEM.
fn roots(address: &str, bundle: &Path) -> Result<Vec<u8>> {
    let unusable = |error: std::io::Error| {
        let message = format!(
            "the CA bundle {} for the state store {address} can't be read: {error}",
            bundle.display()
        );
        unusable_error(message, "use a file of PEM certificates").with_source(error)
    };
    let mut roots = std::fs::read(bundle).map_err(unusable)?;
    for certificate in rustls_native_certs::load_native_certs().certs {
        // Systems ship a few malformed certificates. Other TLS clients skip them too.
        if RootCertStore::empty().add(certificate.clone()).is_ok() {
            roots.extend_from_slice(pem(&certificate).as_bytes());
        }
    }
    Ok(roots)
}

fn pem(certificate: &[u8]) -> String {
    let mut pem = String::from("\n-----BEGIN CERTIFICATE-----\n");
    for line in certificate.chunks(48) {
        let _ = writeln!(pem, "{}", STANDARD.encode(line));
    }
    pem + "-----END CERTIFICATE-----\n"
}
