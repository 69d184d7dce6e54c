//! The seam for the network: one method, behind which are HTTP, the emulator in process, and tests.

mod failure;
pub mod http;
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

pub use request_body::{BodyPart, RequestBody};

use crate::error::Error;
use crate::secret::SecretUrl;

pub use logging_transport::LoggingTransport;

/// Who is being asked. A blob host gets no bearer token, and its bytes are not decoded on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    Service,
    Login,
    Blob,
    /// What gives tokens to the machine that this runs on: never through a proxy.
    ManagedIdentity,
}

#[derive(Clone)]
pub struct Request {
    pub destination: Destination,
    pub method: Method,
    pub url: SecretUrl,
    /// Values that are secret are marked sensitive.
    pub headers: HeaderMap,
    pub body: RequestBody,
    /// Of the whole exchange; of a blob, between two reads.
    pub timeout: Duration,
}

/// The bytes of an answer, as they come.
pub type ResponseBody = BoxStream<'static, Result<Bytes, Failure>>;

pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ResponseBody,
}

/// The exchange did not come to an end.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whether a byte of the request may have reached the service. If none did, the request may go again.
    pub sent: bool,
    pub error: Error,
}

/// A network. `send` starts one exchange; dropping its future, or the response's body, ends it on the wire.
pub trait Transport: Send + Sync + 'static {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>>;
}

impl Response {
    /// A response whose body is at hand.
    pub fn from_bytes(status: StatusCode, headers: HeaderMap, body: impl Into<Bytes>) -> Self {
        let body: Bytes = body.into();
        Self {
            status,
            headers,
            body: Box::pin(futures_util::stream::once(async move { Ok(body) })),
        }
    }

    /// Reads the body to its end; more than `limit` bytes are refused.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes, Failure> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.body.next().await {
            let chunk = chunk?;
            if all.len() + chunk.len() > limit {
                let error = Error::new(
                    crate::error::Kind::Service,
                    format!("the answer is larger than {limit} bytes"),
                );
                return Err(Failure { sent: true, error });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    /// A header's value, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl fmt::Debug for Request {
    /// Without the body: a login's holds a secret.
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
