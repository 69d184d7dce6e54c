//! TLS with a certificate authority that is made at each start.

use std::net::IpAddr;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use crate::error::{Error, Kind, Result};

/// Returns an acceptor for `host` and loopback, and the authority's certificate in PEM.
pub fn acceptor(host: &str) -> Result<(TlsAcceptor, String)> {
    let failed = |error: rcgen::Error| {
        Error::new(Kind::Service, format!("failed to create the emulator's certificate: {error}"))
    };
    let (authority, key) = authority().map_err(failed)?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    // A certificate cannot name 0.0.0.0 or ::, and nobody connects to them by that name.
    let specific = host.parse::<IpAddr>().map_or(true, |ip| !ip.is_unspecified());
    if specific && !names.iter().any(|name| name == host) {
        names.push(host.to_owned());
    }
    let own_key = KeyPair::generate().map_err(failed)?;
    let mut own = CertificateParams::new(names).map_err(failed)?;
    own.distinguished_name.push(DnType::CommonName, "mde-live-response emulator");
    // Python's ssl module in strict mode (3.13 and later) requires this extension.
    own.use_authority_key_identifier_extension = true;
    let issuer = Issuer::from_params(&authority, &key);
    let own = own.signed_by(&own_key, &issuer).map_err(failed)?;
    let pem = authority.self_signed(&key).map_err(failed)?.pem();
    let own_key = PrivateKeyDer::try_from(own_key.serialize_der()).map_err(|error| {
        Error::new(
            Kind::Service,
            format!("failed to use the key of the emulator's certificate: {error}"),
        )
    })?;
    let refused = |error: rustls::Error| {
        Error::new(Kind::Service, format!("failed to set up TLS for the emulator: {error}"))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], own_key)
        .map_err(refused)?;
    Ok((TlsAcceptor::from(Arc::new(config)), pem))
}

/// Returns the parameters and the key of a new certificate authority.
fn authority() -> std::result::Result<(CertificateParams, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
        .distinguished_name
        .push(DnType::CommonName, "mde-live-response emulator's authority of this run");
    Ok((params, KeyPair::generate()?))
}
