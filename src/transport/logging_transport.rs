//! Tells of every request: one line of the log at DEBUG, and a span where somebody traces (OpenTelemetry's conventions for
//! HTTP clients). What is told is without query, headers and body, and of a result link without its path.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Method};
use log::Level;
use url::Url;

use super::{Destination, Failure, Request, Response, ResponseBody, Transport};
use crate::clock::Clock;
use crate::text::sanitize;
use crate::trace::LOG_TARGET;
use crate::trace::{self, Attributes, Span};

/// A network that is told of.
pub struct LoggingTransport<T> {
    inner: T,
    clock: Clock,
}

impl<T: Transport> LoggingTransport<T> {
    pub fn wrap(inner: T, clock: Clock) -> Arc<dyn Transport> {
        Arc::new(Self { inner, clock })
    }
}

impl<T: Transport> Transport for LoggingTransport<T> {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async move {
            let exchange = Exchange::start(&request, self.clock);
            match self.inner.send(request).await {
                Ok(response) => Ok(exchange.on_response(response)),
                Err(failure) => {
                    exchange.on_failure(&failure);
                    Err(failure)
                }
            }
        }
        .boxed()
    }
}

/// One request on its way.
struct Exchange {
    method: Method,
    /// As the log has it.
    logged_path: String,
    attempt: u32,
    clock: Clock,
    started: f64,
    status: Option<u16>,
    request_id: Option<String>,
    span: Option<Span>,
    logged: bool,
}

impl Exchange {
    fn start(request: &Request, clock: Clock) -> Self {
        let url = request.url.expose();
        let secret = request.destination == Destination::Blob;
        let logged_path = if secret { format!("{:?}", request.url) } else { url.path().to_owned() };
        let (method, attempt) = (request.method.clone(), trace::current_attempt());
        let span = Span::open(method.as_str(), true, || attributes(&method, url, secret, attempt));
        let started = clock.now();
        Self {
            method,
            logged_path,
            attempt,
            clock,
            started,
            status: None,
            request_id: None,
            span,
            logged: false,
        }
    }

    /// The answer's body is followed to its end, for the time that it takes and for what may break it.
    fn on_response(mut self, response: Response) -> Response {
        self.status = Some(response.status.as_u16());
        if self.span.is_none() && !log::log_enabled!(target: LOG_TARGET, Level::Debug) {
            self.logged = true;
            return response;
        }
        self.request_id = request_id(&response.headers);
        let Response { status, headers, body } = response;
        Response { status, headers, body: self.track_body(body) }
    }

    fn track_body(self, body: ResponseBody) -> ResponseBody {
        let followed = futures_util::stream::unfold(
            (body, Some(self)),
            |(mut body, mut exchange)| async move {
                let chunk: Option<Result<Bytes, Failure>> = body.next().await;
                match &chunk {
                    Some(Ok(_)) => {}
                    Some(Err(failure)) => exchange
                        .take()
                        .into_iter()
                        .for_each(|exchange| exchange.on_failure(failure)),
                    None => exchange
                        .take()
                        .into_iter()
                        .for_each(|mut exchange| exchange.log_end(&"", None)),
                }
                chunk.map(|chunk| (chunk, (body, exchange)))
            },
        );
        Box::pin(followed.fuse())
    }

    fn on_failure(mut self, failure: &Failure) {
        let error = format!("{:?}", failure.error.kind);
        self.log_end(&format_args!(": {}", failure.error), Some(error));
    }

    fn log_end(&mut self, why: &dyn fmt::Display, error: Option<String>) {
        self.logged = true;
        let Self { method, logged_path, attempt, status, request_id, .. } = self;
        let took = self.clock.now() - self.started;
        log::debug!(
            target: LOG_TARGET,
            "{method} {logged_path} {} in {took:.3} s, attempt {attempt}{}{why}",
            status.filter(|_| error.is_none()).map_or_else(|| "no answer".to_owned(), |status| status.to_string()),
            request_id.as_deref().map(|id| format!(", request {id}")).unwrap_or_default(),
        );
        let Some(span) = self.span.take() else { return };
        let mut attributes: Attributes = Vec::new();
        attributes.extend(status.map(|status| ("http.response.status_code", status.into())));
        span.close(
            attributes,
            error.or_else(|| status.filter(|status| *status >= 400).map(|it| it.to_string())),
        );
    }
}

impl Drop for Exchange {
    /// Whoever asked has left.
    fn drop(&mut self) {
        if !self.logged {
            self.log_end(&": left by its caller", Some("cancelled".to_owned()));
        }
    }
}

fn attributes(method: &Method, url: &Url, secret: bool, attempt: u32) -> Attributes {
    let host = url.host_str().unwrap_or_default();
    let origin = url.origin().ascii_serialization();
    let path = if secret { "/REDACTED" } else { url.path() };
    let query = if url.query().is_some() { "?REDACTED" } else { "" };
    let mut attributes: Attributes = vec![
        ("http.request.method", method.as_str().into()),
        ("server.address", host.trim_matches(['[', ']']).into()),
        ("url.full", format!("{origin}{path}{query}").as_str().into()),
    ];
    attributes.extend(url.port_or_known_default().map(|port| ("server.port", port.into())));
    attributes.extend((attempt > 1).then(|| ("http.request.resend_count", (attempt - 1).into())));
    attributes
}

/// What to quote to Microsoft: the service's header, Azure Storage's, and the login host's.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let header = ["mise-correlation-id", "x-ms-request-id"]
        .into_iter()
        .find_map(|name| headers.get(name))?;
    Some(sanitize(header.to_str().ok()?, 100)).filter(|id| !id.is_empty())
}
