//! Whom we connect to, and whom we trust to be it.

use std::error::Error as _;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::{Client, RedisError, TlsCertificates};
use rustls::RootCertStore;

use super::connection::to_error;
use crate::error::{Error, Result};
use crate::secret::Secret;
use crate::state::recovery::unusable_error;

const HINT: &str = "give the CA of the server's certificate as a PEM file by ca_bundle, REQUESTS_CA_BUNDLE or \
                    SSL_CERT_FILE; the certificate must name the host of the address";

/// A client of `url`, which is shown as `address`. Trusts the system's roots, and those of `bundle` or
/// REQUESTS_CA_BUNDLE.
pub fn client(url: &Secret, address: &str, bundle: Option<&Path>) -> Result<Client> {
    // Elsewhere rustls is told its provider; redis asks the process for it.
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

/// The bundle, and the system's roots in the same form.
fn roots(address: &str, bundle: &Path) -> Result<Vec<u8>> {
    let unusable = |error: std::io::Error| {
        let message = format!(
            "the state store {address}: the CA bundle {} can't be read: {error}",
            bundle.display()
        );
        unusable_error(message, "give a file of PEM certificates").with_source(error)
    };
    let mut roots = std::fs::read(bundle).map_err(unusable)?;
    for certificate in rustls_native_certs::load_native_certs().certs {
        // One malformed root among a system's hundreds is left out, as every other TLS client does.
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

/// What failed in the TLS handshake, in the caller's terms: no trying again helps.
pub fn handshake_error(address: &str, error: &RedisError) -> Option<Error> {
    let shared = error.source()?.downcast_ref::<Arc<dyn std::error::Error + Send + Sync>>()?;
    let io = shared.downcast_ref::<std::io::Error>()?;
    let tls = io.get_ref()?.downcast_ref::<rustls::Error>()?;
    let hint = match tls {
        rustls::Error::InvalidCertificate(_) => HINT,
        _ => "see that the port speaks TLS; without TLS the address begins with redis://",
    };
    Some(unusable_error(format!("the state store {address} failed the TLS handshake: {tls}"), hint))
}
