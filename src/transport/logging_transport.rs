//! Logs every request: one DEBUG line, and a span if tracing is on (OpenTelemetry's conventions for
//! HTTP clients). Line and span contain no query, header or body, and no path of a result link.

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

/// A transport that logs the requests of another transport.
pub struct LoggingTransport<T> {
    inner: T,
    clock: Clock,
}

impl<T: Transport> LoggingTransport<T> {
    /// Wraps `inner`.
    pub fn wrap(inner: T, clock: Clock) -> Arc<dyn Transport> {
        Arc::new(Self { inner, clock })
    }
}

impl<T: Transport> Transport for LoggingTransport<T> {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async move {
            let exchange = LoggedExchange::start(&request, self.clock);
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

/// One request and its response.
struct LoggedExchange {
    method: Method,
    /// Without query; of a result link, the host only.
    logged_path: String,
    attempt: u32,
    clock: Clock,
    started: f64,
    status: Option<u16>,
    request_id: Option<String>,
    span: Option<Span>,
    logged: bool,
}

impl LoggedExchange {
    fn start(request: &Request, clock: Clock) -> Self {
        let url = request.url.expose();
        // The path of a result link identifies the result, so it is a secret too.
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

    /// Wraps the response, so that the log line comes after the last byte of the body.
    fn on_response(mut self, response: Response) -> Response {
        self.status = Some(response.status.as_u16());
        // Without a reader of the log or the span, the body is not wrapped.
        if self.span.is_none() && !log::log_enabled!(target: LOG_TARGET, Level::Debug) {
            self.logged = true;
            return response;
        }
        self.request_id = request_id(&response.headers);
        let Response { status, headers, body } = response;
        Response { status, headers, body: self.track_body(body) }
    }

    fn track_body(self, body: ResponseBody) -> ResponseBody {
        let tracked = futures_util::stream::unfold(
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
        Box::pin(tracked.fuse())
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

impl Drop for LoggedExchange {
    /// Logs a request that its caller cancelled.
    fn drop(&mut self) {
        if !self.logged {
            self.log_end(&": cancelled by the caller", Some("cancelled".to_owned()));
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
    // OpenTelemetry counts repeats, and sets the attribute for repeats only.
    attributes.extend((attempt > 1).then(|| ("http.request.resend_count", (attempt - 1).into())));
    attributes
}

/// Returns the request id to quote to Microsoft, of the service, Azure Storage or the login host.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let header = ["mise-correlation-id", "x-ms-request-id"]
        .into_iter()
        .find_map(|name| headers.get(name))?;
    Some(sanitize(header.to_str().ok()?, 100)).filter(|id| !id.is_empty())
}
