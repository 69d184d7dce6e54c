//! Sends requests over the network with reqwest. It follows no redirects, retries nothing and keeps
//! no cookies, because the pipeline must count every attempt.

use std::sync::{Arc, Once};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use http::StatusCode;
use http::header::CONTENT_LENGTH;

use super::failure::RequestRoute;
pub use super::http_clients::HttpClientRegistry;
use super::http_clients::HttpClients;
use super::{Destination, Failure, Request, Response, Transport};
use crate::config::ClientOptions;
use crate::error::Result;

/// HTTP/1.1 and HTTP/2 over rustls, with connection pools.
pub struct HttpTransport(Arc<HttpClients>);

impl HttpTransport {
    /// Creates a transport that shares its connections with the others of `registry` whose network
    /// settings are equal.
    pub fn new(options: &ClientOptions, registry: &HttpClientRegistry) -> Result<Self> {
        registry.get_or_create(options).map(Self)
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

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        self.send_request(request).boxed()
    }
}

impl HttpTransport {
    async fn send_request(&self, request: Request) -> Result<Response, Failure> {
        let clients = &self.0;
        if clients.insecure {
            warn_once();
        }
        let blob = request.destination == Destination::Blob;
        let (client, proxied) = match request.destination {
            Destination::ManagedIdentity => (&clients.platform, false),
            // Only the client for blobs leaves the bytes as they are.
            Destination::Blob | Destination::ServiceAsSent => (&clients.blob, true),
            Destination::Service | Destination::Login => (&clients.service, true),
        };
        let route =
            RequestRoute::new(request.url.clone(), proxied.then(|| clients.proxies.clone()));
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
        let mut response = response.map_err(|error| route.to_failure(error))?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
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
