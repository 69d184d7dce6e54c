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

/// Beyond what may be uploaded, this much of a body is kept.
const BODY_MARGIN: u64 = 1 << 20;
/// Of a body that is too large, this much is read before the connection is closed.
const MAX_DRAINED_BODY: u64 = 1 << 30;
/// For a request's head and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

type HttpResponse = http::Response<UnsyncBoxBody<Bytes, ConnectionAborted>>;

/// The connection is to be broken off.
#[derive(Debug)]
struct ConnectionAborted;

impl std::fmt::Display for ConnectionAborted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for ConnectionAborted {}

/// A running TCP front. It stops when it is closed or dropped; every connection is then closed.
#[derive(Debug)]
pub struct Server {
    api: SocketAddr,
    blob: SocketAddr,
    ca_bundle: Option<String>,
    tasks: Vec<JoinHandle<()>>,
}

impl Server {
    /// Where the API and the login host listen.
    pub fn api_address(&self) -> SocketAddr {
        self.api
    }

    pub fn blob_address(&self) -> SocketAddr {
        self.blob
    }

    /// PEM of the authority that signed the server's certificate, with TLS.
    pub fn ca_bundle(&self) -> Option<&str> {
        self.ca_bundle.as_deref()
    }

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

/// Serves `emulator` on `host` and `port` (0: any that is free) within the current tokio runtime. From now on the
/// emulator's addresses are the server's.
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
            format!("could not listen on {host} port {port}: {error}"),
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
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No more file descriptors: others may be closed by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
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
    // Only a delay where it fails.
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
    // An error is the client's: it broke off, or spoke no HTTP and was told so.
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

/// Reads a body; of one that is too large the rest is read and thrown away, so that the client hears the answer.
async fn read_body(mut body: Incoming, max_kept: u64) -> Option<ReceivedBody> {
    let (mut all, mut length) = (BytesMut::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length += data.len() as u64;
        if length > MAX_DRAINED_BODY {
            return None;
        }
        if length > max_kept {
            all = BytesMut::new();
        } else {
            all.extend_from_slice(&data);
        }
    }
    Some(ReceivedBody { body: all.freeze(), body_too_large: length > max_kept })
}

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

/// A body that breaks off after `chunks`, once they are on their way.
fn truncated_body(
    chunks: BoxStream<'static, std::io::Result<Bytes>>,
) -> UnsyncBoxBody<Bytes, ConnectionAborted> {
    let end = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other(ConnectionAborted))
    });
    stream_body(chunks.chain(end).boxed())
}
