//! Sends requests over the network with reqwest. It follows no redirects, retries nothing and keeps
//! no cookies, because the pipeline must count every attempt.

use std::sync::Once;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use reqwest::Certificate;
use reqwest::redirect::Policy;

use super::failure::{RequestRoute, root_cause};
use super::proxy::ProxyConfig;
use super::{Destination, Failure, Request, Response, Transport, tls_roots};
use crate::clock::seconds_to_duration;
use crate::config::{ClientOptions, NetworkOptions};
use crate::error::{Error, Result};

/// HTTP/1.1 and HTTP/2 over rustls, with connection pools.
pub struct HttpTransport {
    service: reqwest::Client,
    /// Does not decompress: a collected file is evidence and must stay as it was sent.
    blob: reqwest::Client,
    /// Uses no proxy: the token endpoint of the platform is local.
    platform: reqwest::Client,
    proxies: ProxyConfig,
    insecure: bool,
}

impl HttpTransport {
    /// Loads the certificate authorities and the proxy settings.
    pub fn new(options: &ClientOptions) -> Result<Self> {
        // An error means that another part of the process installed a provider, which is fine too.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (network, https) = (&options.network, options.endpoint.scheme() == "https");
        let roots =
            tls_roots::load_roots(network.ca_bundle.as_deref(), https && !network.insecure)?;
        let proxies = ProxyConfig::new(network.proxy.as_ref(), !https)?;
        // Separate clients, since reqwest decides on decompression and proxies per client.
        let by_proxy = || proxies.configure(client_builder(options, roots.clone()));
        let platform = client_builder(options, Vec::new()).no_proxy();
        Ok(Self {
            service: build(by_proxy().gzip(true))?,
            blob: build(by_proxy().gzip(false))?,
            platform: build(platform)?,
            proxies,
            insecure: network.insecure,
        })
    }
}

fn warn_once() {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        log::warn!(
            target: "mde_live_response",
            "verify=False: certificates are not verified, so an attacker on the network can read \
             the token and impersonate the service; give the CA in ca_bundle instead"
        );
    });
}

fn client_builder(options: &ClientOptions, roots: Vec<Certificate>) -> reqwest::ClientBuilder {
    let network = &options.network;
    // A redirect could send the token to another host, and a retry inside reqwest would not count
    // against the rate limits.
    reqwest::Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(seconds_to_duration(options.connect_timeout))
        .user_agent(user_agent(network))
        .tls_danger_accept_invalid_certs(network.insecure)
        .tls_certs_only(roots)
}

fn user_agent(network: &NetworkOptions) -> String {
    let ours = concat!("mde-live-response/", env!("CARGO_PKG_VERSION"));
    match &network.user_agent {
        Some(theirs) => format!("{theirs} {ours}"),
        None => ours.to_owned(),
    }
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder.build().map_err(|error| {
        Error::invalid(format!("could not set up HTTP: {}", root_cause(&error.without_url())))
    })
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        self.send_request(request).boxed()
    }
}

impl HttpTransport {
    async fn send_request(&self, request: Request) -> Result<Response, Failure> {
        if self.insecure {
            warn_once();
        }
        let blob = request.destination == Destination::Blob;
        let (client, proxy) = match request.destination {
            Destination::ManagedIdentity => (&self.platform, None),
            Destination::Blob => (&self.blob, self.proxies.proxy_for(request.url.expose())),
            Destination::Service | Destination::Login => {
                (&self.service, self.proxies.proxy_for(request.url.expose()))
            }
        };
        let route = RequestRoute::new(&request.url, proxy);
        let mut builder =
            client.request(request.method, request.url.expose().clone()).headers(request.headers);
        // A streamed body has no length of its own: without the header it would be sent chunked.
        builder = match request.body.in_memory_bytes() {
            Some(bytes) => builder.body(bytes),
            None => builder
                .header(CONTENT_LENGTH, request.body.len())
                .body(reqwest::Body::wrap_stream(request.body.stream())),
        };
        // A download may take hours: its timeout is per read, below.
        if !blob {
            builder = builder.timeout(request.timeout);
        }
        let read_timeout = request.timeout;
        let sending = builder.send();
        let response = if blob {
            let late = || route.timed_out("did not answer", read_timeout);
            tokio::time::timeout(read_timeout, sending).await.map_err(|_| late())?
        } else {
            sending.await
        };
        let response = response.map_err(|error| route.to_failure(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        // For plain http there is no CONNECT: the 407 of the proxy arrives as the response.
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(failure) = route.proxy_auth_failure()
        {
            return Err(failure);
        }
        let chunks = Box::pin(response.bytes_stream());
        if !blob {
            let body = Box::pin(chunks.map_err(move |error| route.to_failure(error)));
            return Ok(Response { status, headers, body });
        }
        let body =
            futures_util::stream::unfold((chunks, route), move |(mut chunks, route)| async move {
                let chunk: Option<Result<Bytes, Failure>> =
                    match tokio::time::timeout(read_timeout, chunks.try_next()).await {
                        Ok(read) => read.map_err(|error| route.to_failure(error)).transpose(),
                        Err(_) => Some(Err(route.timed_out("sent nothing more", read_timeout))),
                    };
                chunk.map(|chunk| (chunk, (chunks, route)))
            });
        // `unfold` panics if it is polled after its end.
        Ok(Response { status, headers, body: Box::pin(body.fuse()) })
    }
}
