//! The HTTP clients of one set of network settings, and the registry that shares them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::HeaderValue;
use reqwest::redirect::Policy;
use rustls::ClientConfig;

use super::failure::root_cause;
use super::proxy::{ProxyConfig, ProxyEnvironment};
use super::tls_roots::RootFiles;
use crate::clock::seconds_to_duration;
use crate::config::{ClientOptions, NetworkOptions};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// Shares the HTTP clients of a process between all transports whose network settings are equal.
///
/// A connection belongs to the runtime and the process that opened it: each of them needs a
/// registry of its own.
#[derive(Default)]
pub struct HttpClientRegistry(Mutex<RegistryState>);

#[derive(Default)]
struct RegistryState {
    /// Weak: the connections are closed with the last transport that uses them.
    clients: Vec<(NetworkKey, Weak<HttpClients>)>,
    /// The last TLS configuration, kept: parsing the system's authorities takes milliseconds.
    tls: Option<(TlsKey, Arc<ClientConfig>)>,
}

/// Everything that decides how a connection is made.
#[derive(Clone, PartialEq)]
struct NetworkKey {
    tls: TlsKey,
    proxy: Option<Secret>,
    environment: ProxyEnvironment,
    user_agent: Option<String>,
    connect_timeout: f64,
}

#[derive(Clone, PartialEq)]
struct TlsKey {
    roots: RootFiles,
    insecure: bool,
    /// Whether the endpoint needs authorities.
    https: bool,
}

/// The clients of one set of network settings. They share one TLS configuration.
pub struct HttpClients {
    // Separate clients, since reqwest decides on decompression and proxies per client.
    pub service: reqwest::Client,
    /// Does not decompress: a collected file is evidence and must stay as it was sent.
    pub blob: reqwest::Client,
    /// Uses no proxy: the token endpoint of the platform is local.
    pub platform: reqwest::Client,
    pub proxies: Arc<ProxyConfig>,
    pub insecure: bool,
}

impl HttpClientRegistry {
    /// Returns the clients for these options. Reads certificates and proxy settings only if they
    /// differ from those of every transport in use.
    pub fn get_or_create(&self, options: &ClientOptions) -> Result<Arc<HttpClients>> {
        let key = NetworkKey::new(options);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = state.clients.iter().find(|(known, _)| *known == key);
        if let Some(clients) = found.and_then(|(_, clients)| clients.upgrade()) {
            return Ok(clients);
        }
        let tls = match &state.tls {
            Some((known, tls)) if *known == key.tls => tls.clone(),
            _ => Arc::new(key.tls.configure()?),
        };
        let clients = Arc::new(HttpClients::new(options, &tls, key.tls.https)?);
        state.tls = Some((key.tls.clone(), tls));
        state.clients.retain(|(_, clients)| clients.strong_count() > 0);
        state.clients.push((key, Arc::downgrade(&clients)));
        Ok(clients)
    }
}

impl NetworkKey {
    fn new(options: &ClientOptions) -> Self {
        let network = &options.network;
        let https = options.endpoint.scheme() == "https";
        let roots = RootFiles::find(network.ca_bundle.as_deref());
        Self {
            tls: TlsKey { roots, insecure: network.insecure, https },
            proxy: network.proxy.clone(),
            environment: ProxyEnvironment::read(),
            user_agent: network.user_agent.clone(),
            connect_timeout: options.connect_timeout,
        }
    }
}

impl TlsKey {
    fn configure(&self) -> Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = self.roots.load(self.https && !self.insecure)?;
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::invalid(format!("could not set up TLS: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl HttpClients {
    fn new(options: &ClientOptions, tls: &ClientConfig, https: bool) -> Result<Self> {
        let network = &options.network;
        let proxies = ProxyConfig::new(network.proxy.as_ref(), !https)?;
        let builder = || builder(options, tls);
        Ok(Self {
            service: build(proxies.configure(builder()?.gzip(true)))?,
            blob: build(proxies.configure(builder()?.gzip(false)))?,
            platform: build(builder()?.no_proxy())?,
            proxies: Arc::new(proxies),
            insecure: network.insecure,
        })
    }
}

fn builder(options: &ClientOptions, tls: &ClientConfig) -> Result<reqwest::ClientBuilder> {
    let network = &options.network;
    // A redirect could send the token to another host, and a retry inside reqwest would not count
    // against the rate limits.
    let builder = reqwest::Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(seconds_to_duration(options.connect_timeout))
        .user_agent(user_agent(network)?);
    if network.insecure {
        // An error means that another part of the process installed a provider, which is fine too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        return Ok(builder.tls_danger_accept_invalid_certs(true).tls_certs_only([]));
    }
    Ok(builder.tls_backend_preconfigured(tls.clone()))
}

fn user_agent(network: &NetworkOptions) -> Result<HeaderValue> {
    let ours = concat!("mde-live-response/", env!("CARGO_PKG_VERSION"));
    let text = match &network.user_agent {
        Some(theirs) => format!("{theirs} {ours}"),
        None => ours.to_owned(),
    };
    HeaderValue::from_str(&text).map_err(|_| {
        Error::invalid("user_agent holds characters that no header may have")
            .with_hint("give one line of printable text")
    })
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| {
        Error::invalid(format!("could not set up HTTP: {}", root_cause(&error.without_url())))
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::Cloud;

    /// A file with one certificate authority, removed when dropped.
    struct Bundle(PathBuf);

    impl Bundle {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("mlr-roots-{}.pem", uuid::Uuid::new_v4()));
            let bundle = Self(path);
            bundle.write(1);
            bundle
        }

        fn write(&self, authorities: usize) {
            let pem = |_| rcgen::generate_simple_self_signed(["ca.example.test".to_owned()]);
            let pem: String =
                (0..authorities).map(pem).map(|made| made.unwrap().cert.pem()).collect();
            std::fs::write(&self.0, pem).unwrap();
        }

        fn options(&self) -> ClientOptions {
            let mut options = ClientOptions::new(Cloud::default(), None).unwrap();
            options.network.ca_bundle = Some(self.0.clone());
            options
        }
    }

    impl Drop for Bundle {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn transports_share_their_clients_if_the_network_settings_are_equal() {
        let (bundle, registry) = (Bundle::new(), HttpClientRegistry::default());
        let of = |change: fn(&mut ClientOptions)| {
            let mut options = bundle.options();
            change(&mut options);
            registry.get_or_create(&options).unwrap()
        };
        let clients = of(|_| {});
        let same = of(|options| {
            options.tenant_id = Some("another".to_owned());
            options.request_timeout = 1.0;
        });
        assert!(Arc::ptr_eq(&clients, &same));
        let others: [fn(&mut ClientOptions); 5] = [
            |options| options.network.user_agent = Some("other/1".to_owned()),
            |options| options.network.proxy = Some(Secret::new("http://proxy.example.test:1")),
            |options| options.network.insecure = true,
            |options| options.network.ca_bundle = None,
            |options| options.connect_timeout = 1.0,
        ];
        for (at, other) in others.into_iter().enumerate() {
            assert!(!Arc::ptr_eq(&clients, &of(other)), "setting {at}");
        }
    }

    #[test]
    fn a_new_transport_reads_a_bundle_that_has_changed() {
        let (bundle, registry) = (Bundle::new(), HttpClientRegistry::default());
        let before = registry.get_or_create(&bundle.options()).unwrap();
        bundle.write(2);
        let after = registry.get_or_create(&bundle.options()).unwrap();
        assert!(!Arc::ptr_eq(&before, &after));
        std::fs::write(&bundle.0, "no certificate").unwrap();
        assert!(registry.get_or_create(&bundle.options()).is_err());
    }

    #[test]
    fn connections_end_with_the_last_transport_that_uses_them() {
        let (bundle, registry) = (Bundle::new(), HttpClientRegistry::default());
        let clients = Arc::downgrade(&registry.get_or_create(&bundle.options()).unwrap());
        assert_eq!(clients.strong_count(), 0);
    }

    #[test]
    fn a_user_agent_of_two_lines_is_refused() {
        let bundle = Bundle::new();
        let mut options = bundle.options();
        options.network.user_agent = Some("a\r\nX-Injected: 1".to_owned());
        let error = HttpClientRegistry::default().get_or_create(&options).map(drop).unwrap_err();
        assert!(error.message.contains("user_agent"), "{error}");
    }
}
