//! `rediss://` over real TLS, with certificates created for the test.

use std::path::{Path, PathBuf};

use mde_live_response::clock::Clock;
use mde_live_response::config::Limits;
use mde_live_response::error::{Error, Kind, Result};
use mde_live_response::state::QuotaKey;
use mde_live_response::state::address::{Address, open_with};
use mde_live_response::state::store::StoreSettings;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::store_support::*;

const ADDRESS: &str = "MDE_STORE_TEST_TLS";

/// A certificate with its key and its CA, as files.
struct Certificate {
    folder: TempDir,
    own: PathBuf,
    key: PathBuf,
    authority: PathBuf,
}

impl Certificate {
    fn for_host(name: &str) -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let own = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let own = own.signed_by(&key, &Issuer::from_params(&authority, &authority_key)).unwrap();
        let folder = TempDir::new();
        let write = |name: &str, pem: String| {
            std::fs::write(folder.file(name), pem).unwrap();
            folder.file(name)
        };
        let (own, key) = (write("own.pem", own.pem()), write("key.pem", key.serialize_pem()));
        let authority =
            write("authority.pem", authority.self_signed(&authority_key).unwrap().pem());
        Self { own, key, authority, folder }
    }

    /// Starts a server that accepts only TLS. Returns it with its address.
    fn serve(&self) -> Option<(Redis, String)> {
        let path = |path: &Path| path.display().to_string();
        let (own, key) = (path(&self.own), path(&self.key));
        let redis = Redis::start_tls(&[
            "--tls-cert-file",
            &own,
            "--tls-key-file",
            &key,
            "--tls-auth-clients",
            "no",
        ])?;
        let address =
            redis.address().replace("redis:", "rediss:").replace("127.0.0.1", "localhost");
        Some((redis, address))
    }
}

async fn open(address: &str, bundle: Option<&Path>) -> Result<()> {
    let key = QuotaKey { host: "api.test".into(), tenant: "t".into(), application: "a".into() };
    let mut settings = StoreSettings::new(&key, &Limits::default(), Clock::new());
    settings.timeout = 2.0;
    settings.ca_bundle = bundle.map(Path::to_owned);
    open_with(&Address::parse(address)?, settings).await?.window_usage(READ).await.map(drop)
}

async fn refused(address: &str, bundle: Option<&Path>) -> Error {
    let error = open(address, bundle).await.expect_err(address);
    assert!(error.kind == Kind::State && !error.retryable && error.hint.is_some(), "{error:?}");
    error
}

#[tokio::test]
async fn only_the_bundle_with_the_right_ca_is_trusted() {
    let (own, other) = (Certificate::for_host("localhost"), Certificate::for_host("localhost"));
    let Some((_redis, address)) = own.serve() else { return };
    open(&address, Some(&own.authority)).await.unwrap();
    for bundle in [None, Some(&*other.authority)] {
        let error = refused(&address, bundle).await;
        assert!(
            error.message.contains("certificate")
                && error.hint.as_ref().unwrap().contains("ca_bundle"),
            "{}",
            error.message
        );
    }
    let missing = refused(&address, Some(&own.folder.file("none.pem"))).await;
    assert!(missing.message.contains("none.pem"), "{missing:?}");
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let other = Certificate::for_host("elsewhere.test");
    let Some((_redis, address)) = other.serve() else { return };
    let error = refused(&address, Some(&other.authority)).await;
    assert!(
        error.message.contains("certificate") && error.message.contains("elsewhere.test"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_port_without_tls_does_not_look_like_a_wrong_certificate() {
    let Some(redis) = Redis::start(&[]) else { return };
    let error = open(&redis.address().replace("redis:", "rediss:"), None).await.unwrap_err();
    assert!(error.kind == Kind::State && error.retryable, "{error:?}");
    assert!(error.hint.as_ref().unwrap().contains("speaks TLS"), "{error:?}");
}

/// The test runs itself again in a child process, which has the environment variable.
#[tokio::test]
async fn the_environment_names_the_trusted_bundle() {
    if let Ok(address) = std::env::var(ADDRESS) {
        return open(&address, None).await.unwrap();
    }
    let own = Certificate::for_host("localhost");
    let Some((_redis, address)) = own.serve() else { return };
    for variable in ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"] {
        let done = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store_tls::the_environment_names_the_trusted_bundle"])
            .env(ADDRESS, &address)
            .env(variable, &own.authority)
            .output()
            .unwrap();
        assert!(done.status.success(), "{variable}: {}", String::from_utf8_lossy(&done.stdout));
    }
}
