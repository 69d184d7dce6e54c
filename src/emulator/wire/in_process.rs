//! The in-process transport: the emulator implements `Transport` without sockets.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::emulator::Emulator;
use crate::emulator::wire::exchange::{ReceivedBody, VirtualHost};
use crate::emulator::wire::reply::{ExchangeOutcome, Reply, ReplyBody};
use crate::emulator::wire::request::IncomingRequest;
use crate::error::{Error, Kind};
use crate::transport::{Destination, Failure, Request, Response, SendCheckFailed, Transport};

impl Transport for Emulator {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async move {
            let Some(vhost) = self.virtual_host_of(&request) else {
                return Err(connection_failed(
                    false,
                    format!("the host {} could not be found in DNS", request.url.host()),
                ));
            };
            let url = request.url.expose();
            let incoming = IncomingRequest::without_body(
                request.method,
                url.path(),
                url.query(),
                request.headers,
            );
            let body = match request.body.bytes().await {
                Ok(body) => body,
                Err(error)
                    if error.get_ref().is_some_and(|error| error.is::<SendCheckFailed>()) =>
                {
                    return Err(Failure::check_failed());
                }
                Err(error) => return Err(connection_failed(false, error.to_string())),
            };
            let body = async { Some(ReceivedBody { body, body_too_large: false }) };
            match tokio::time::timeout(request.timeout, self.exchange(vhost, incoming, body)).await
            {
                Ok(outcome) => respond(outcome),
                Err(_) => {
                    Err(connection_failed(true, "the emulator did not answer in time".to_owned()))
                }
            }
        }
        .boxed()
    }
}

impl Emulator {
    /// Returns the host that a request is for, or `None` if it is not one of the emulator's.
    fn virtual_host_of(&self, request: &Request) -> Option<VirtualHost> {
        let url = request.url.expose();
        let state = self.lock_state();
        let is = |address: &str| {
            address
                .strip_prefix(url.scheme())
                .and_then(|rest| rest.strip_prefix("://"))
                .is_some_and(|host| {
                    host == &url[url::Position::BeforeHost..url::Position::AfterPort]
                })
        };
        match request.destination {
            Destination::Service | Destination::ServiceAsSent => {
                is(&state.addresses.api).then_some(VirtualHost::Api)
            }
            Destination::Login => is(&state.addresses.login).then_some(VirtualHost::Api),
            Destination::Blob => is(&state.addresses.blob).then_some(VirtualHost::Blob),
            Destination::ManagedIdentity => None,
        }
    }
}

fn respond(outcome: ExchangeOutcome) -> Result<Response, Failure> {
    match outcome {
        ExchangeOutcome::Answered(reply) => Ok(response(reply, None)),
        ExchangeOutcome::Truncated(reply, keep) => Ok(response(reply, Some(keep))),
        ExchangeOutcome::Dropped { read } => {
            Err(connection_failed(read, "the emulator broke the connection".to_owned()))
        }
    }
}

/// Returns the client's response. With `keep`, its body breaks after that many bytes.
fn response(reply: Reply, keep: Option<usize>) -> Response {
    let body: BoxStream<'static, Result<Bytes, Failure>> = match (reply.body, keep) {
        (ReplyBody::Full(body), None) => {
            return Response::from_bytes(reply.status, reply.headers, body);
        }
        (ReplyBody::Full(body), Some(keep)) => {
            stream::iter([Ok(body.slice(..keep.min(body.len())))]).boxed()
        }
        (ReplyBody::Spooled { file, start, end }, keep) => {
            let end = keep.map_or(end, |keep| end.min(start + keep as u64));
            file.read_chunks(start, end)
                .map(|chunk| chunk.map_err(|error| connection_failed(true, error.to_string())))
                .boxed()
        }
    };
    // The reader gets the bytes first and then the error, as from a real connection.
    let body = if keep.is_some() {
        let cut =
            async { Err(connection_failed(true, "the emulator broke the connection".to_owned())) };
        body.chain(stream::once(cut)).boxed()
    } else {
        body
    };
    Response { status: reply.status, headers: reply.headers, body }
}

/// Returns a failed request. `sent` says whether the emulator may have read it.
fn connection_failed(sent: bool, message: String) -> Failure {
    Failure { sent, error: Error::new(Kind::ConnectionFailed, message) }
}
