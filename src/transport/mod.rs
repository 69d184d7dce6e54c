//! The interface to the network. HTTP, the emulator in the same process and test doubles implement
//! it.

mod failure;
pub mod http;
mod http_clients;
mod logging_transport;
mod proxy;
mod request_body;
mod tls_roots;

use std::fmt;
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::error::{Error, Kind};
use crate::secret::SecretUrl;

pub use logging_transport::LoggingTransport;
pub use request_body::{BodyPart, RequestBody, SendCheck, SendCheckFailed};

/// The kind of host that a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Service,
    /// The service, for an answer whose bytes are not decompressed.
    ServiceAsSent,
    Login,
    /// A host of results. It gets no bearer token, and its bytes are not decompressed.
    Blob,
    /// The token endpoint of the platform. Never through a proxy.
    ManagedIdentity,
}

/// An HTTP request.
#[derive(Clone)]
pub struct Request {
    pub destination: Destination,
    pub method: Method,
    pub url: SecretUrl,
    /// Secret values are marked sensitive.
    pub headers: HeaderMap,
    pub body: RequestBody,
    /// For the whole exchange; for a blob, for each read.
    pub timeout: Duration,
}

/// The bytes of a response, as they arrive.
pub type ResponseBody = BoxStream<'static, Result<Bytes, Failure>>;

/// An HTTP response.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ResponseBody,
}

/// An exchange without a complete response.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whether the service may have received a part of the request. If not, repeating it is safe.
    pub sent: bool,
    pub error: Error,
}

/// A network. `send` starts one exchange; dropping its future or the response body cancels it.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and returns the response once its headers have arrived.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>>;
}

impl Failure {
    /// Returns the failure of a request whose body was not sent, because its check failed.
    pub fn check_failed() -> Self {
        let error = Error::new(Kind::ConnectionFailed, SendCheckFailed.to_string());
        Self { sent: false, error }
    }
}

impl Response {
    /// Creates a response from a complete body.
    pub fn from_bytes(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let body: Bytes = body.into();
        Self {
            status,
            headers,
            body: Box::pin(futures_util::stream::once(async move { Ok(body) })),
        }
    }

    /// Reads the whole body; a body of more than `limit` bytes is an error.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, Failure> {
        // Most responses arrive in one chunk, which is not copied.
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk?;
            // Checked before copying: a hostile host must not exhaust the memory.
            if first.len() + all.len() + chunk.len() > limit {
                let error =
                    Error::new(Kind::Service, format!("the response is larger than {limit} bytes"));
                return Err(Failure { sent: true, error });
            }
            if first.is_empty() && all.is_empty() {
                first = chunk;
                continue;
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&chunk);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// Returns a header's value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Request {
    /// Prints the size of the body only: the body of a login holds a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Request");
        shown
            .field("destination", &self.destination)
            .field("method", &self.method)
            .field("url", &self.url);
        shown
            .field("headers", &self.headers)
            .field("body", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("status", &self.status).finish_non_exhaustive()
    }
}
