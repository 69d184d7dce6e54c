//! The network itself, by reqwest: no redirects, no retries, no cookies; every try is counted above.

use std::error::Error as StdError;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use reqwest::Certificate;
use reqwest::redirect::Policy;

use super::certificates;
use super::{Audience, Failure, Request, Response, Transport};
use crate::clock::seconds_to_duration;
use crate::config::{Network, Options};
use crate::error::{Error, Kind, Result};

/// HTTP/1.1 and HTTP/2 over TCP and rustls, with connections kept.
pub struct HttpTransport {
    service: reqwest::Client,
    /// Decodes nothing: what a blob host sends is evidence.
    blob: reqwest::Client,
}

impl HttpTransport {
    pub fn new(options: &Options) -> Result<Self> {
        // Err when another part of the process chose a provider before us, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let https = options.endpoint.scheme() == "https";
        let roots = certificates::roots(options.network.ca_bundle.as_deref(), https)?;
        let builder = || client_builder(options, roots.clone());
        Ok(Self { service: build(builder()?.gzip(true))?, blob: build(builder()?.gzip(false))? })
    }
}

fn client_builder(options: &Options, roots: Vec<Certificate>) -> Result<reqwest::ClientBuilder> {
    let network = &options.network;
    let mut builder = reqwest::Client::builder()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(seconds_to_duration(options.connect_timeout))
        .user_agent(user_agent(network));
    if network.insecure {
        builder = builder.tls_danger_accept_invalid_certs(true);
    }
    builder = builder.tls_certs_only(roots);
    match network.proxy.as_ref().map(|proxy| proxy.expose()) {
        None => Ok(builder),
        Some("") => Ok(builder.no_proxy()),
        Some(url) => {
            let proxy = reqwest::Proxy::all(url).map_err(|_| {
                Error::invalid("proxy is not a URL").with_hint("give it as http://user:password@host:port")
            })?;
            Ok(builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_env())))
        }
    }
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
        .map_err(|error| Error::invalid(format!("could not set up HTTP: {}", describe(&error.without_url()))))
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        self.exchange(request).boxed()
    }
}

impl HttpTransport {
    async fn exchange(&self, request: Request) -> Result<Response, Failure> {
        let blob = request.audience == Audience::Blob;
        let host = request.url.host().to_owned();
        let client = if blob { &self.blob } else { &self.service };
        let mut builder =
            client.request(request.method, request.url.expose().clone()).headers(request.headers).body(request.body);
        if !blob {
            builder = builder.timeout(request.timeout);
        }
        let read_timeout = request.timeout;
        let sending = builder.send();
        let answer = if blob {
            let late = || timed_out(&host, "did not answer", read_timeout);
            tokio::time::timeout(read_timeout, sending).await.map_err(|_| late())?
        } else {
            sending.await
        };
        let answer = answer.map_err(|error| failure(error, &host))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let chunks = answer.bytes_stream().map_err({
            let host = host.clone();
            move |error| failure(error, &host)
        });
        if !blob {
            return Ok(Response { status, headers, body: Box::pin(chunks) });
        }
        let body = futures_util::stream::unfold((Box::pin(chunks), host), move |(mut chunks, host)| async move {
            let chunk: Option<Result<Bytes, Failure>> =
                match tokio::time::timeout(read_timeout, chunks.try_next()).await {
                    Ok(read) => read.transpose(),
                    Err(_) => Some(Err(timed_out(&host, "sent nothing more", read_timeout))),
                };
            chunk.map(|chunk| (chunk, (chunks, host)))
        });
        // Whoever reads may ask again after the end.
        Ok(Response { status, headers, body: Box::pin(body.fuse()) })
    }
}

fn timed_out(host: &str, what: &str, after: std::time::Duration) -> Failure {
    let message = format!("{host} {what} within {} s", after.as_secs_f64());
    Failure { sent: true, error: Error::new(Kind::ConnectionFailed, message).with_hint("see request_timeout") }
}

/// The one place where a reqwest error is converted: it loses its URL, which may be a result link.
fn failure(error: reqwest::Error, host: &str) -> Failure {
    let error = error.without_url();
    let sent = !error.is_connect();
    let cause = describe(&error);
    let (what, hint) = if error.is_decode() {
        ("sent a body that does not unpack", "try again; a proxy on the way may be damaging what it passes on")
    } else if error.is_timeout() && sent {
        ("did not answer in time", "see request_timeout; the service may have acted on the request all the same")
    } else if error.is_timeout() {
        ("could not be connected to in time", "see connect_timeout; is a proxy needed (HTTPS_PROXY)?")
    } else if error.is_dns() {
        ("could not be found in DNS", "check the endpoint's name and this machine's resolver, or set a proxy")
    } else if cause.contains("certificate") || cause.contains("invalid peer") {
        ("failed the TLS handshake", "if a proxy breaks TLS open here, give its CA by ca_bundle or REQUESTS_CA_BUNDLE")
    } else if !sent {
        ("could not be connected to", "check that the host is reachable from here, or set a proxy (HTTPS_PROXY)")
    } else {
        ("broke the connection off", "the request may be tried again where that does no harm")
    };
    let kind = if error.is_decode() { Kind::Service } else { Kind::ConnectionFailed };
    let error = Error::new(kind, format!("{host} {what}: {cause}")).with_hint(hint);
    Failure { sent, error }
}

/// The innermost cause, which says more than reqwest's own words.
fn describe(error: &reqwest::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
