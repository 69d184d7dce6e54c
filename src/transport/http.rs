//! The network itself, by reqwest: no redirects, no retries, no cookies; every try is counted above.

use std::sync::Once;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use reqwest::Certificate;
use reqwest::redirect::Policy;

use super::failure::{Way, innermost};
use super::proxy::Proxies;
use super::{Audience, Failure, Request, Response, Transport, certificates};
use crate::clock::seconds_to_duration;
use crate::config::{Network, Options};
use crate::error::{Error, Result};

/// HTTP/1.1 and HTTP/2 over TCP and rustls, with connections kept.
pub struct HttpTransport {
    service: reqwest::Client,
    /// Decodes nothing: what a blob host sends is evidence.
    blob: reqwest::Client,
    /// Goes through no proxy: what it asks is on this machine, or beside it.
    platform: reqwest::Client,
    proxies: Proxies,
    insecure: bool,
}

impl HttpTransport {
    pub fn new(options: &Options) -> Result<Self> {
        // Err when another part of the process chose a provider before us, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (network, https) = (&options.network, options.endpoint.scheme() == "https");
        let roots = certificates::roots(network.ca_bundle.as_deref(), https && !network.insecure)?;
        let proxies = Proxies::new(network.proxy.as_ref(), !https)?;
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
            "verify=False: no certificate is checked, so whoever is on the way can read the token and answer in the \
             service's place; give the CA by ca_bundle instead"
        );
    });
}

fn client_builder(options: &Options, roots: Vec<Certificate>) -> reqwest::ClientBuilder {
    let network = &options.network;
    reqwest::Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(seconds_to_duration(options.connect_timeout))
        .user_agent(user_agent(network))
        .tls_danger_accept_invalid_certs(network.insecure)
        .tls_certs_only(roots)
}

fn user_agent(network: &Network) -> String {
    let ours = concat!("mde-live-response/", env!("CARGO_PKG_VERSION"));
    match &network.user_agent {
        Some(theirs) => format!("{theirs} {ours}"),
        None => ours.to_owned(),
    }
}

fn build(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder
        .build()
        .map_err(|error| Error::invalid(format!("could not set up HTTP: {}", innermost(&error.without_url()))))
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        self.exchange(request).boxed()
    }
}

impl HttpTransport {
    async fn exchange(&self, request: Request) -> Result<Response, Failure> {
        if self.insecure {
            warn_once();
        }
        let blob = request.audience == Audience::Blob;
        let (client, proxy) = match request.audience {
            Audience::Platform => (&self.platform, None),
            Audience::Blob => (&self.blob, self.proxies.of(request.url.expose())),
            Audience::Service | Audience::Login => (&self.service, self.proxies.of(request.url.expose())),
        };
        let way = Way::new(&request.url, proxy);
        let mut builder = client.request(request.method, request.url.expose().clone()).headers(request.headers);
        builder = match request.body.at_hand() {
            Some(bytes) => builder.body(bytes),
            None => builder
                .header(CONTENT_LENGTH, request.body.len())
                .body(reqwest::Body::wrap_stream(request.body.stream())),
        };
        if !blob {
            builder = builder.timeout(request.timeout);
        }
        let read_timeout = request.timeout;
        let sending = builder.send();
        let answer = if blob {
            let late = || way.timed_out("did not answer", read_timeout);
            tokio::time::timeout(read_timeout, sending).await.map_err(|_| late())?
        } else {
            sending.await
        };
        let answer = answer.map_err(|error| way.failed(error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED
            && let Some(failure) = way.wants_login()
        {
            return Err(failure);
        }
        let chunks = Box::pin(answer.bytes_stream());
        if !blob {
            let body = Box::pin(chunks.map_err(move |error| way.failed(error)));
            return Ok(Response { status, headers, body });
        }
        let body = futures_util::stream::unfold((chunks, way), move |(mut chunks, way)| async move {
            let chunk: Option<Result<Bytes, Failure>> =
                match tokio::time::timeout(read_timeout, chunks.try_next()).await {
                    Ok(read) => read.map_err(|error| way.failed(error)).transpose(),
                    Err(_) => Some(Err(way.timed_out("sent nothing more", read_timeout))),
                };
            chunk.map(|chunk| (chunk, (chunks, way)))
        });
        // Whoever reads may ask again after the end.
        Ok(Response { status, headers, body: Box::pin(body.fuse()) })
    }
}
