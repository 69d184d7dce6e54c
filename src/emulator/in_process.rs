//! The door in process: the emulator as a `Transport`, without sockets.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::Emulator;
use super::exchange::{Door, Exchanged, Sent};
use super::reply::{Body, Reply};
use super::spool::Spool;
use super::state::Call;
use crate::error::{Error, Kind};
use crate::transport::{Audience, Failure, Request, Response, Transport};

/// A spooled result is read in pieces of this size.
pub(super) const PIECE: u64 = 256 << 10;

impl Transport for Emulator {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, Failure>> {
        async move {
            let Some(door) = self.door_of(&request) else {
                return Err(broken(false, format!("{} could not be found in DNS", request.url.host())));
            };
            let url = request.url.expose();
            let call = Call {
                method: request.method,
                path: url.path().to_owned(),
                query: url.query().unwrap_or("").to_owned(),
                headers: request.headers,
                body: Bytes::new(),
                overlong: false,
                upload: None,
            };
            let body = async { Some(Sent { body: request.body.bytes().await.ok()?, overlong: false }) };
            match tokio::time::timeout(request.timeout, self.exchange(door, call, body)).await {
                Ok(exchanged) => respond(exchanged),
                Err(_) => Err(broken(true, "the emulator did not answer in time".to_owned())),
            }
        }
        .boxed()
    }
}

impl Emulator {
    /// The door that a request's host and audience lead to.
    fn door_of(&self, request: &Request) -> Option<Door> {
        let url = request.url.expose();
        let state = self.state();
        let is = |address: &str| {
            address
                .strip_prefix(url.scheme())
                .and_then(|rest| rest.strip_prefix("://"))
                .is_some_and(|host| host == &url[url::Position::BeforeHost..url::Position::AfterPort])
        };
        match request.audience {
            Audience::Service => is(&state.addresses.api).then_some(Door::Api),
            Audience::Login => is(&state.addresses.login).then_some(Door::Api),
            Audience::Blob => is(&state.addresses.blob).then_some(Door::Blob),
            Audience::Platform => None,
        }
    }
}

fn respond(exchanged: Exchanged) -> Result<Response, Failure> {
    match exchanged {
        Exchanged::Answered(reply) => Ok(response(reply, None)),
        Exchanged::CutShort(reply, keep) => Ok(response(reply, Some(keep))),
        Exchanged::Dropped { read } => Err(broken(read, "the emulator broke the connection off".to_owned())),
    }
}

fn response(reply: Reply, keep: Option<usize>) -> Response {
    let body: BoxStream<'static, Result<Bytes, Failure>> = match (reply.body, keep) {
        (Body::Full(body), None) => return Response::full(reply.status, reply.headers, body),
        (Body::Full(body), Some(keep)) => stream::iter([Ok(body.slice(..keep.min(body.len())))]).boxed(),
        (Body::Spooled { spool, start, end }, keep) => {
            let end = keep.map_or(end, |keep| end.min(start + keep as u64));
            pieces(spool, start, end).map(|piece| piece.map_err(|error| broken(true, error.to_string()))).boxed()
        }
    };
    let body = if keep.is_some() {
        let cut = async { Err(broken(true, "the emulator broke the connection off".to_owned())) };
        body.chain(stream::once(cut)).boxed()
    } else {
        body
    };
    Response { status: reply.status, headers: reply.headers, body }
}

/// A spooled result, piece by piece.
pub(super) fn pieces(spool: Spool, start: u64, end: u64) -> BoxStream<'static, std::io::Result<Bytes>> {
    stream::unfold(start, move |at| {
        let spool = spool.clone();
        async move {
            if at >= end {
                return None;
            }
            let read = tokio::task::spawn_blocking(move || spool.read(at, PIECE.min(end - at))).await;
            match read.unwrap_or_else(|error| Err(error.into())) {
                Ok(piece) if piece.is_empty() => None,
                Ok(piece) => {
                    let next = at + piece.len() as u64;
                    Some((Ok(piece), next))
                }
                Err(error) => Some((Err(error), end)),
            }
        }
    })
    .boxed()
}

fn broken(sent: bool, message: String) -> Failure {
    Failure { sent, error: Error::new(Kind::ConnectionFailed, message) }
}
