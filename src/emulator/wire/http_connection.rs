//! Serves HTTP on one connection.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use http::header::CONTENT_LENGTH;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::emulator::Emulator;
use crate::emulator::http_control::{
    ControlAccess, MAX_BODY as MAX_CONTROL_BODY, body_too_large as control_body_too_large,
    is_control_path,
};
use crate::emulator::wire::addresses::Addresses;
use crate::emulator::wire::exchange::{ReceivedBody, VirtualHost};
use crate::emulator::wire::reply::{ExchangeOutcome, Reply, ReplyBody};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::serve::run_blocking;

/// How much larger than the largest library file a body may be: room for the form around the file.
const BODY_MARGIN: u64 = 1 << 20;
/// How much of a body that is too large is read before the connection is closed.
const MAX_DRAINED_BODY: u64 = 1 << 30;
/// Time limit of a TLS handshake and of a request's headers.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

type HttpResponse = http::Response<UnsyncBoxBody<Bytes, ConnectionAborted>>;

/// Makes hyper close the connection immediately, for an injected fault.
#[derive(Debug)]
struct ConnectionAborted;

impl std::fmt::Display for ConnectionAborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the emulator closed the connection on purpose")
    }
}

impl std::error::Error for ConnectionAborted {}

/// The host that a connection is for.
#[derive(Clone, Debug)]
pub struct ServedHost {
    pub vhost: VirtualHost,
    /// The URLs that fit the host, if the connection came through the proxy. Otherwise, they are the
    /// server's own.
    pub addresses: Option<Arc<Addresses>>,
    /// Set if the control over HTTP is served here.
    pub control: Option<ControlPeer>,
}

/// Who may control the emulator over HTTP, and who sends the requests of a connection.
#[derive(Clone, Debug)]
pub struct ControlPeer {
    pub access: Arc<ControlAccess>,
    pub peer: Option<IpAddr>,
}

/// Serves the requests of one connection until it ends.
pub async fn serve_http<S: AsyncRead + AsyncWrite + Unpin>(
    emulator: Emulator,
    stream: S,
    host: ServedHost,
) {
    let service = service_fn(|request| handle_request(&emulator, &host, request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(1 << 20);
    // The emulator dates its responses itself, by its own clock.
    builder.auto_date_header(false);
    // An error here is the client's: it closed the connection, or sent no valid HTTP and got a 400.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn handle_request(
    emulator: &Emulator,
    host: &ServedHost,
    request: http::Request<Incoming>,
) -> Result<HttpResponse, ConnectionAborted> {
    let (head, body) = request.into_parts();
    if let Some(control) = host.control.as_ref().filter(|_| is_control_path(head.uri.path())) {
        return Ok(serve_control(emulator, control, head, body).await);
    }
    let mut incoming =
        IncomingRequest::without_body(head.method, head.uri.path(), head.uri.query(), head.headers);
    incoming.addresses.clone_from(&host.addresses);
    let max_kept = emulator.lock_state().limits.upload_size.saturating_add(BODY_MARGIN);
    match emulator.exchange(host.vhost, incoming, read_body(body, max_kept)).await {
        ExchangeOutcome::Answered(reply) => Ok(respond(reply, None)),
        ExchangeOutcome::Truncated(reply, keep) => Ok(respond(reply, Some(keep))),
        ExchangeOutcome::Dropped { .. } => Err(ConnectionAborted),
    }
}

/// Serves a request to the control.
async fn serve_control(
    emulator: &Emulator,
    control: &ControlPeer,
    head: http::request::Parts,
    body: Incoming,
) -> HttpResponse {
    let refused = control.access.refuse(control.peer, &head.uri, &head.headers);
    let limit = if refused.is_some() { 0 } else { MAX_CONTROL_BODY };
    let received = read_body(body, limit).await;
    let response = match (refused, received) {
        (Some(refusal), _) => Some(refusal),
        (None, Some(received)) if received.body_too_large => Some(control_body_too_large()),
        (None, Some(received)) => {
            let request = http::Request::from_parts(head, received.body);
            let emulator = emulator.clone();
            // A script that is due may be Python code, and run for long.
            run_blocking(move || emulator.control(&request)).await
        }
        (None, None) => None,
    };
    let response = response.unwrap_or_else(|| {
        let mut response = http::Response::new(Bytes::new());
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        response
    });
    response.map(|body| Full::new(body).map_err(infallible).boxed_unsync())
}

/// Reads a body. Returns `None` if the connection broke or the body is far too large.
async fn read_body(mut body: Incoming, max_kept: u64) -> Option<ReceivedBody> {
    let (mut all, mut length) = (BytesMut::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length += data.len() as u64;
        if length > MAX_DRAINED_BODY {
            return None;
        }
        // The rest of a body that is too large is still read: a client that is cut off while it
        // sends may not see the response.
        if length > max_kept {
            all = BytesMut::new();
        } else {
            all.extend_from_slice(&data);
        }
    }
    Some(ReceivedBody { body: all.freeze(), body_too_large: length > max_kept })
}

/// Returns the HTTP response. With `keep`, its body breaks after that many bytes.
fn respond(reply: Reply, keep: Option<usize>) -> HttpResponse {
    let length = match &reply.body {
        ReplyBody::Full(body) => body.len() as u64,
        ReplyBody::Spooled { start, end, .. } => end - start,
    };
    let body: UnsyncBoxBody<Bytes, ConnectionAborted> = match (reply.body, keep) {
        (ReplyBody::Full(body), None) if !reply.chunked => {
            Full::new(body).map_err(infallible).boxed_unsync()
        }
        (ReplyBody::Full(body), None) => stream_body(stream::once(async move { Ok(body) }).boxed()),
        (ReplyBody::Full(body), Some(keep)) => {
            truncated_body(stream::iter([Ok(body.slice(..keep.min(body.len())))]).boxed())
        }
        (ReplyBody::Spooled { file, start, end }, None) => {
            stream_body(file.read_chunks(start, end))
        }
        (ReplyBody::Spooled { file, start, end }, Some(keep)) => {
            truncated_body(file.read_chunks(start, end.min(start + keep as u64)))
        }
    };
    let mut response = http::Response::new(body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    if !reply.chunked && length > 0 {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

fn infallible(never: Infallible) -> ConnectionAborted {
    match never {}
}

fn stream_body(
    chunks: BoxStream<'static, std::io::Result<Bytes>>,
) -> UnsyncBoxBody<Bytes, ConnectionAborted> {
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data).map_err(|_| ConnectionAborted)))
        .boxed_unsync()
}

/// Returns a body that breaks after `chunks`.
fn truncated_body(
    chunks: BoxStream<'static, std::io::Result<Bytes>>,
) -> UnsyncBoxBody<Bytes, ConnectionAborted> {
    let end = stream::once(async {
        // An error right away would drop chunks that hyper has not yet written to the socket.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other(ConnectionAborted))
    });
    stream_body(chunks.chain(end).boxed())
}
