//! The door over TCP: the API and the login host on one port, the blob host on another.

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

use super::Emulator;
use super::exchange::{Door, Exchanged, Sent};
use super::in_process::pieces;
use super::reply::{Body, Reply};
use super::state::{Addresses, Anywhere, Call};
use crate::error::{Error, Kind, Result};

/// Beyond what may be uploaded, this much of a body is kept.
const SLACK: u64 = 1 << 20;
/// Of a body that is too large, this much is read before the connection is closed.
const PATIENCE: u64 = 1 << 30;
/// For a request's head and for a TLS handshake.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

type Answer = http::Response<UnsyncBoxBody<Bytes, Broken>>;

/// The connection is to be broken off.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off on purpose")
    }
}

impl std::error::Error for Broken {}

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
pub async fn serve(emulator: Emulator, host: &str, port: u16, tls: bool) -> Result<Server> {
    let (acceptor, ca_bundle) =
        if tls { super::tls::acceptor(host).map(|(a, pem)| (Some(a), Some(pem)))? } else { (None, None) };
    let (api_listener, api) = bind(host, port).await?;
    let (blob_listener, blob) = bind(host, 0).await?;
    let scheme = if tls { "https" } else { "http" };
    let shown = |port: u16| match api.ip() {
        ip if ip.is_unspecified() => format!("{scheme}://127.0.0.1:{port}"),
        _ if host.parse::<IpAddr>().is_err() => format!("{scheme}://{host}:{port}"),
        ip => format!("{scheme}://{}", SocketAddr::new(ip, port)),
    };
    let anywhere = Anywhere { scheme, api_port: api.port(), blob_port: blob.port() };
    emulator.state().addresses = Addresses {
        api: shown(api.port()),
        login: shown(api.port()),
        blob: shown(blob.port()),
        anywhere: api.ip().is_unspecified().then_some(anywhere),
    };
    let tasks = [(api_listener, Door::Api), (blob_listener, Door::Blob)]
        .map(|(listener, door)| tokio::spawn(accept(emulator.clone(), listener, door, acceptor.clone())));
    Ok(Server { api, blob, ca_bundle, tasks: tasks.into() })
}

async fn bind(host: &str, port: u16) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::ConnectionFailed, format!("could not listen on {host} port {port}: {error}"))
    };
    let listener = TcpListener::bind((host, port)).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

async fn accept(emulator: Emulator, listener: TcpListener, door: Door, tls: Option<TlsAcceptor>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No more file descriptors: others may be closed by then.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(emulator.clone(), stream, door, tls.clone()));
    }
}

async fn connection(emulator: Emulator, stream: TcpStream, door: Door, tls: Option<TlsAcceptor>) {
    // Only a delay where it fails.
    let _ = stream.set_nodelay(true);
    match tls {
        None => converse(emulator, stream, door).await,
        Some(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
                converse(emulator, stream, door).await;
            }
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(emulator: Emulator, stream: S, door: Door) {
    let service = service_fn(|request| answer(&emulator, door, request));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(1 << 20);
    // An error is the client's: it broke off, or spoke no HTTP and was told so.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(emulator: &Emulator, door: Door, request: http::Request<Incoming>) -> Result<Answer, Broken> {
    let (head, body) = request.into_parts();
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or("").to_owned(),
        headers: head.headers,
        body: Bytes::new(),
        overlong: false,
        upload: None,
    };
    let kept = emulator.state().limits.upload_size.saturating_add(SLACK);
    match emulator.exchange(door, call, read(body, kept)).await {
        Exchanged::Answered(reply) => Ok(respond(reply, None)),
        Exchanged::CutShort(reply, keep) => Ok(respond(reply, Some(keep))),
        Exchanged::Dropped { .. } => Err(Broken),
    }
}

/// Reads a body; of one that is too large the rest is read and thrown away, so that the client hears the answer.
async fn read(mut body: Incoming, kept: u64) -> Option<Sent> {
    let (mut all, mut length) = (BytesMut::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        length += data.len() as u64;
        if length > PATIENCE {
            return None;
        }
        if length > kept {
            all = BytesMut::new();
        } else {
            all.extend_from_slice(&data);
        }
    }
    Some(Sent { body: all.freeze(), overlong: length > kept })
}

fn respond(reply: Reply, keep: Option<usize>) -> Answer {
    let length = match &reply.body {
        Body::Full(body) => body.len() as u64,
        Body::Spooled { start, end, .. } => end - start,
    };
    let body: UnsyncBoxBody<Bytes, Broken> = match (reply.body, keep) {
        (Body::Full(body), None) if !reply.chunked => Full::new(body).map_err(never).boxed_unsync(),
        (Body::Full(body), None) => framed(stream::once(async move { Ok(body) }).boxed()),
        (Body::Full(body), Some(keep)) => cut_short(stream::iter([Ok(body.slice(..keep.min(body.len())))]).boxed()),
        (Body::Spooled { spool, start, end }, None) => framed(pieces(spool, start, end)),
        (Body::Spooled { spool, start, end }, Some(keep)) => {
            cut_short(pieces(spool, start, end.min(start + keep as u64)))
        }
    };
    let mut answer = http::Response::new(body);
    *answer.status_mut() = reply.status;
    *answer.headers_mut() = reply.headers;
    if !reply.chunked && length > 0 {
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    answer
}

fn never(never: Infallible) -> Broken {
    match never {}
}

fn framed(chunks: BoxStream<'static, std::io::Result<Bytes>>) -> UnsyncBoxBody<Bytes, Broken> {
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data).map_err(|_| Broken))).boxed_unsync()
}

/// A body that breaks off after `chunks`, once they are on their way.
fn cut_short(chunks: BoxStream<'static, std::io::Result<Bytes>>) -> UnsyncBoxBody<Bytes, Broken> {
    let end = stream::once(async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other(Broken))
    });
    framed(chunks.chain(end).boxed())
}
