//! The TCP server: the API and the login host on one port, the blob host on another.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
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
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::emulator::Emulator;
use crate::emulator::wire::addresses::{Addresses, WildcardBind};
use crate::emulator::wire::exchange::{ReceivedBody, VirtualHost};
use crate::emulator::wire::reply::{ExchangeOutcome, Reply, ReplyBody};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::tls;
use crate::error::{Error, Kind, Result};

/// How much larger than the largest library file a body may be: room for the form around the file.
const BODY_MARGIN: u64 = 1 << 20;
/// How much of a body that is too large is read before the connection is closed.
const MAX_DRAINED_BODY: u64 = 1 << 30;
/// Time limit of a TLS handshake and of a request's headers.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

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

/// A running TCP server. It stops when it is closed or dropped, with all its connections.
#[derive(Debug)]
pub struct Server {
    api: SocketAddr,
    blob: SocketAddr,
    ca_bundle: Option<String>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Returns the address of the API and the login host.
    pub fn api_address(&self) -> SocketAddr {
        self.api
    }

    /// Returns the address of the blob host.
    pub fn blob_address(&self) -> SocketAddr {
        self.blob
    }

    /// Returns the PEM of the authority that signed the server's certificate. `None` without TLS.
    pub fn ca_bundle(&self) -> Option<&str> {
        self.ca_bundle.as_deref()
    }

    /// Stops the server and closes its connections.
    pub fn close(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// Serves an emulator over TCP, on the current tokio runtime. Port 0 takes any free port.
///
/// From now on the emulator's URLs are those of the server.
///
/// # Errors
///
/// Returns an error if the address cannot be bound or the certificate cannot be created.
pub async fn serve(emulator: Emulator, host: &str, port: u16, with_tls: bool) -> Result<Server> {
    let (acceptor, ca_bundle) = if with_tls {
        tls::acceptor(host).map(|(a, pem)| (Some(a), Some(pem)))?
    } else {
        (None, None)
    };
    let (api_listener, api) = bind(host, port).await?;
    let (blob_listener, blob) = bind(host, 0).await?;
    let scheme = if with_tls { "https" } else { "http" };
    let url_for_port = |port: u16| match api.ip() {
        ip if ip.is_unspecified() => format!("{scheme}://127.0.0.1:{port}"),
        _ if host.parse::<IpAddr>().is_err() => format!("{scheme}://{host}:{port}"),
        ip => format!("{scheme}://{}", SocketAddr::new(ip, port)),
    };
    let wildcard_bind = WildcardBind { scheme, api_port: api.port(), blob_port: blob.port() };
    emulator.lock_state().addresses = Addresses {
        api: url_for_port(api.port()),
        login: url_for_port(api.port()),
        blob: url_for_port(blob.port()),
        wildcard_bind: api.ip().is_unspecified().then_some(wildcard_bind),
    };
    let tasks = [(api_listener, VirtualHost::Api), (blob_listener, VirtualHost::Blob)].map(
        |(listener, vhost)| {
            tokio::spawn(accept_loop(emulator.clone(), listener, vhost, acceptor.clone()))
        },
    );
    Ok(Server { api, blob, ca_bundle, tasks: tasks.into() })
}

async fn bind(host: &str, port: u16) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| {
        Error::new(
            Kind::ConnectionFailed,
            format!("the emulator failed to listen on {host} port {port}: {error}"),
        )
    };
    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn accept_loop(
    emulator: Emulator,
    listener: TcpListener,
    vhost: VirtualHost,
    tls: Option<TlsAcceptor>,
) {
    // When this task is aborted, the set is dropped and closes every connection.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // The process has no free file descriptors. Wait for others to be closed.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        // Forget the connections that have ended. The set would grow with each one.
        while connections.try_join_next().is_some() {}
        connections.spawn(handle_connection(emulator.clone(), stream, vhost, tls.clone()));
    }
}

async fn handle_connection(
    emulator: Emulator,
    stream: TcpStream,
    vhost: VirtualHost,
    tls: Option<TlsAcceptor>,
) {
    // Without it, responses are only slower.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve_http(emulator, stream, vhost).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) =
                tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await
            {
                serve_http(emulator, stream, vhost).await;
            }
        }
    }
}

async fn serve_http<S: AsyncRead + AsyncWrite + Unpin>(
    emulator: Emulator,
    stream: S,
    vhost: VirtualHost,
) {
    let service = service_fn(|request| handle_request(&emulator, vhost, request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(1 << 20);
    // The emulator dates its responses itself, by its own clock.
    builder.auto_date_header(false);
    // An error here is the client's: it closed the connection, or sent no valid HTTP and got a 400.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn handle_request(
    emulator: &Emulator,
    vhost: VirtualHost,
    request: http::Request<Incoming>,
) -> Result<HttpResponse, ConnectionAborted> {
    let (head, body) = request.into_parts();
    let incoming =
        IncomingRequest::without_body(head.method, head.uri.path(), head.uri.query(), head.headers);
    let max_kept = emulator.lock_state().limits.upload_size.saturating_add(BODY_MARGIN);
    match emulator.exchange(vhost, incoming, read_body(body, max_kept)).await {
        ExchangeOutcome::Answered(reply) => Ok(respond(reply, None)),
        ExchangeOutcome::Truncated(reply, keep) => Ok(respond(reply, Some(keep))),
        ExchangeOutcome::Dropped { .. } => Err(ConnectionAborted),
    }
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
