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

use super::{Audience, Body, Failure, Request, Response, Transport};
use crate::classify::words::printable;
use crate::clock::Clock;
use crate::trace::LOG;
use crate::trace::{self, Attributes, Span};

/// A network that is told of.
pub struct Told<T> {
    network: T,
    clock: Clock,
}

impl<T: Transport> Told<T> {
    pub fn over(network: T, clock: Clock) -> Arc<dyn Transport> {
        Arc::new(Self { network, clock })
    }
}

impl<T: Transport> Transport for Told<T> {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async move {
            let exchange = Exchange::begin(&request, self.clock);
            match self.network.send(request).await {
                Ok(response) => Ok(exchange.answered(response)),
                Err(failure) => {
                    exchange.failed(&failure);
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
    shown: String,
    attempt: u32,
    clock: Clock,
    started: f64,
    status: Option<u16>,
    request_id: Option<String>,
    span: Option<Span>,
    told: bool,
}

impl Exchange {
    fn begin(request: &Request, clock: Clock) -> Self {
        let url = request.url.expose();
        let secret = request.audience == Audience::Blob;
        let shown = if secret { format!("{:?}", request.url) } else { url.path().to_owned() };
        let (method, attempt) = (request.method.clone(), trace::attempt());
        let span = Span::open(method.as_str(), true, || attributes(&method, url, secret, attempt));
        let started = clock.now();
        Self { method, shown, attempt, clock, started, status: None, request_id: None, span, told: false }
    }

    /// The answer's body is followed to its end, for the time that it takes and for what may break it.
    fn answered(mut self, response: Response) -> Response {
        self.status = Some(response.status.as_u16());
        if self.span.is_none() && !log::log_enabled!(target: LOG, Level::Debug) {
            self.told = true;
            return response;
        }
        self.request_id = request_id(&response.headers);
        let Response { status, headers, body } = response;
        Response { status, headers, body: self.follow(body) }
    }

    fn follow(self, body: Body) -> Body {
        let followed = futures_util::stream::unfold((body, Some(self)), |(mut body, mut exchange)| async move {
            let chunk: Option<Result<Bytes, Failure>> = body.next().await;
            match &chunk {
                Some(Ok(_)) => {}
                Some(Err(failure)) => exchange.take().into_iter().for_each(|exchange| exchange.failed(failure)),
                None => exchange.take().into_iter().for_each(|mut exchange| exchange.tell(&"", None)),
            }
            chunk.map(|chunk| (chunk, (body, exchange)))
        });
        Box::pin(followed.fuse())
    }

    fn failed(mut self, failure: &Failure) {
        let error = format!("{:?}", failure.error.kind);
        self.tell(&format_args!(": {}", failure.error), Some(error));
    }

    fn tell(&mut self, why: &dyn fmt::Display, error: Option<String>) {
        self.told = true;
        let Self { method, shown, attempt, status, request_id, .. } = self;
        let took = self.clock.now() - self.started;
        log::debug!(
            target: LOG,
            "{method} {shown} {} in {took:.3} s, attempt {attempt}{}{why}",
            status.filter(|_| error.is_none()).map_or_else(|| "no answer".to_owned(), |status| status.to_string()),
            request_id.as_deref().map(|id| format!(", request {id}")).unwrap_or_default(),
        );
        let Some(span) = self.span.take() else { return };
        let mut attributes: Attributes = Vec::new();
        attributes.extend(status.map(|status| ("http.response.status_code", status.into())));
        span.close(attributes, error.or_else(|| status.filter(|status| *status >= 400).map(|it| it.to_string())));
    }
}

impl Drop for Exchange {
    /// Whoever asked has left.
    fn drop(&mut self) {
        if !self.told {
            self.tell(&": left by its caller", Some("cancelled".to_owned()));
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
    let header = ["mise-correlation-id", "x-ms-request-id"].into_iter().find_map(|name| headers.get(name))?;
    Some(printable(header.to_str().ok()?, 100)).filter(|id| !id.is_empty())
}
