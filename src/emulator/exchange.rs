//! One call from its arrival to its end: logged, made to fail where a fault is laid, served under the lock.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};

use super::Emulator;
use super::clock::Tick;
use super::compress::{Coding, compress};
use super::faults::{Fault, FaultKind};
use super::life;
use super::log::Ended;
use super::login::is_login_path;
use super::reply::{Body, Reply, status};
use super::results::Packing;
use super::routes::{Route, Target};
use super::script::ScriptOutcome;
use super::state::{Call, State};
use super::switches::Compression;
use super::upload::Upload;
use crate::clock::seconds_to_duration;

/// A form of this size is read at once.
const SMALL: usize = 64 << 10;

/// Which host is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The API, and by its paths the login host.
    Api,
    Blob,
}

/// What came of a call.
pub(super) enum Exchanged {
    Answered(Reply),
    /// The answer breaks off after so many bytes of its body.
    CutShort(Reply, usize),
    /// The connection breaks off.
    Dropped {
        read: bool,
    },
}

/// A body as it was sent.
pub(super) struct Sent {
    pub body: Bytes,
    /// It was larger than is kept, and was thrown away.
    pub overlong: bool,
}

/// Work to be done without the lock.
enum Job {
    Script(life::Call),
    Pack(Packing),
}

enum Arrival {
    Go(Option<Fault>),
    Wait(Duration),
    Drop { read: bool },
    Answer(Reply),
}

impl Emulator {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with its time; scripts that are due may not have been called yet.
    pub(super) fn at_now(&self) -> (MutexGuard<'_, State>, Tick) {
        let mut state = self.state();
        state.wall = self.inner.times.wall();
        let now = self.inner.times.own() + state.jumped;
        (state, now)
    }

    /// Serves a call whose body is still to be read, so that a fault may come before it.
    pub(super) async fn exchange(
        &self,
        door: Door,
        mut call: Call,
        body: impl Future<Output = Option<Sent>>,
    ) -> Exchanged {
        let (route, target) = route(door, &call);
        let (number, arrival) = self.arrived(route, &call);
        let mut entry = Entry { emulator: self, number, ended: Ended::Closed };
        if matches!(arrival, Arrival::Drop { read: false }) {
            entry.ended = Ended::Dropped;
            return Exchanged::Dropped { read: false };
        }
        let Some(sent) = body.await else { return Exchanged::Dropped { read: true } };
        call.overlong = sent.overlong;
        call.body = sent.body;
        self.state().log.body_read(number, &call.body);
        let fault = match arrival {
            Arrival::Go(fault) => fault,
            Arrival::Wait(time) => {
                tokio::time::sleep(time).await;
                None
            }
            Arrival::Drop { read } => {
                entry.ended = Ended::Dropped;
                return Exchanged::Dropped { read };
            }
            Arrival::Answer(reply) => {
                entry.ended = Ended::Status(reply.status.as_u16());
                return Exchanged::Answered(reply);
            }
        };
        if route == Route::UploadLibraryFile && !call.overlong {
            call.upload = Some(read_upload(&call).await);
        }
        let reply = self.serve(route, target.as_ref(), &call).await;
        let exchanged = self.spoil(reply, fault);
        entry.ended = match &exchanged {
            Exchanged::Answered(reply) | Exchanged::CutShort(reply, _) => Ended::Status(reply.status.as_u16()),
            Exchanged::Dropped { .. } => Ended::Dropped,
        };
        exchanged
    }

    fn arrived(&self, route: Route, call: &Call) -> (u64, Arrival) {
        let (mut state, now) = self.at_now();
        let kept = state.switches.log_size;
        let number = state.log.arrived(route, call, now, kept);
        (number, arrive(&mut state, route, call))
    }

    async fn serve(&self, route: Route, target: Option<&Target>, call: &Call) -> Reply {
        loop {
            let job = {
                let (mut state, now) = self.at_now();
                let due = state.advance(now).map(Job::Script);
                match due.or_else(|| (route == Route::Blob).then(|| state.packing(&call.path)).flatten().map(Job::Pack))
                {
                    Some(job) => job,
                    None => {
                        let reply = answer(&mut state, route, target, call, now);
                        let preferred = state.switches.compression;
                        drop(state);
                        return encode(reply, call, preferred);
                    }
                }
            };
            self.work(job).await;
        }
    }

    /// Calls a script or packs a file on a thread that may block; here, where there is no such thread.
    async fn work(&self, job: Job) {
        match job {
            Job::Script(due) => {
                let emulator = self.clone();
                // Taken in on that thread, since the caller may leave meanwhile.
                let _ = aside(move || emulator.call_script(&due)).await;
            }
            Job::Pack(packing) => {
                let blob = packing.blob.clone();
                // What cannot be read any more is an empty result.
                let packed = aside(move || packing.run()).await.and_then(std::io::Result::ok);
                let packed = packed.unwrap_or(super::results::Packed::Bytes(Bytes::new()));
                self.state().results.keep(blob, packed);
            }
        }
    }

    /// Calls a script, and takes in what it did; one that panics has failed.
    pub(super) fn call_script(&self, due: &life::Call) {
        let run = || (due.run)(&due.machine, due.args.as_deref());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| ScriptOutcome {
            fails: Some("The emulator's script panicked.".to_owned()),
            ..ScriptOutcome::default()
        });
        self.state().script_ran(due.action, due.step, outcome);
    }

    /// What a fault makes of an answer.
    fn spoil(&self, mut reply: Reply, fault: Option<Fault>) -> Exchanged {
        let Some(fault) = fault else { return Exchanged::Answered(reply) };
        match (fault.kind, &reply.body) {
            (FaultKind::DropAfter, _) => Exchanged::Dropped { read: true },
            (FaultKind::Status, _) => Exchanged::Answered(made_up(&fault)),
            (FaultKind::Truncate, Body::Full(body)) => {
                let keep = fault.keep.unwrap_or(body.len() / 2);
                Exchanged::CutShort(reply, keep)
            }
            (FaultKind::Truncate, Body::Spooled { start, end, .. }) => {
                let keep = fault.keep.unwrap_or(((end - start) / 2) as usize);
                Exchanged::CutShort(reply, keep)
            }
            (FaultKind::Garble, Body::Full(body)) => {
                reply.body = Body::Full(self.state().faults.garble(body));
                Exchanged::Answered(reply)
            }
            _ => Exchanged::Answered(reply),
        }
    }
}

/// Does what may take long on a thread that may block; here, where there is no such thread. Nothing where the runtime ends.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(handle) => handle.spawn_blocking(work).await.ok(),
        Err(_) => Some(work()),
    }
}

/// Reads an upload's form, a large one on a thread of its own.
async fn read_upload(call: &Call) -> Result<Upload, String> {
    if call.body.len() <= SMALL {
        return Upload::read(&call.headers, &call.body);
    }
    let (headers, body) = (call.headers.clone(), call.body.clone());
    let read = aside(move || Upload::read(&headers, &body)).await;
    read.unwrap_or_else(|| Err("The form could not be read.".to_owned()))
}

fn route(door: Door, call: &Call) -> (Route, Option<Target>) {
    if door == Door::Blob {
        return (Route::Blob, None);
    }
    if is_login_path(&call.path) {
        return (Route::Token, None);
    }
    let target = Target::of(&call.method, &call.path);
    (target.route(), Some(target))
}

/// What a fault does before anything is acted on.
fn arrive(state: &mut State, route: Route, call: &Call) -> Arrival {
    let Some(fault) = state.faults.spring(&call.method, route, &call.path, &state.switches) else {
        return Arrival::Go(None);
    };
    match fault.kind {
        FaultKind::Status if !fault.acts => Arrival::Answer(made_up(&fault)),
        FaultKind::DropBefore => Arrival::Drop { read: true },
        FaultKind::DropUnread => Arrival::Drop { read: false },
        FaultKind::Delay => Arrival::Wait(seconds_to_duration(fault.seconds)),
        FaultKind::ExpireToken => {
            state.tokens.revoke(&call.headers);
            Arrival::Go(None)
        }
        FaultKind::Status | FaultKind::DropAfter | FaultKind::Truncate | FaultKind::Garble => Arrival::Go(Some(fault)),
    }
}

fn made_up(fault: &Fault) -> Reply {
    let mut reply = Reply::empty(status(fault.status));
    reply.body = Body::Full(Bytes::from(fault.body.clone()));
    for (name, value) in &fault.headers {
        if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
            reply = reply.with_text(name, value);
        }
    }
    reply
}

fn answer(state: &mut State, route: Route, target: Option<&Target>, call: &Call, now: Tick) -> Reply {
    if route == Route::Blob {
        return state.blob(call, now);
    }
    state.addresses.called_at(&call.headers);
    match target {
        Some(target) => state.serve(call, target, now),
        None => {
            let wall = state.wall;
            state.login(&call.method, &call.path, &call.body, now, wall)
        }
    }
}

/// Compresses what the client accepts to have compressed (facts 3.2).
fn encode(mut reply: Reply, call: &Call, preferred: Compression) -> Reply {
    let accepted = call.headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    if let (true, Some(coding)) = (reply.chunked, Coding::choose(accepted, preferred))
        && let Body::Full(body) = &reply.body
    {
        reply.body = Body::Full(compress(body, coding));
        reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        reply.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    reply
}

/// The log's entry of a call; a call that is dropped before it ended was closed by its client.
struct Entry<'a> {
    emulator: &'a Emulator,
    number: u64,
    ended: Ended,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.emulator.state().log.ended(self.number, self.ended);
    }
}
