//! One request from its arrival to its end: logged, made to fail where a fault is laid, served under the lock.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};

use crate::clock::seconds_to_duration;
use crate::emulator::Emulator;
use crate::emulator::blob::results::PackJob;
use crate::emulator::clock::Tick;
use crate::emulator::control::faults::{Fault, FaultKind};
use crate::emulator::control::request_log::RequestOutcome;
use crate::emulator::control::switches::Compression;
use crate::emulator::inventory::upload::UploadForm;
use crate::emulator::login::token_endpoint::is_login_path;
use crate::emulator::session::lifecycle;
use crate::emulator::session::script::ScriptOutcome;
use crate::emulator::state::{IncomingRequest, State};
use crate::emulator::wire::compress::{Coding, compress};
use crate::emulator::wire::reply::{Body, Reply, status};
use crate::emulator::wire::routes::{Route, RouteMatch};

/// A form of this size is read at once.
const INLINE_FORM_SIZE: usize = 64 << 10;

/// Which host is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VirtualHost {
    /// The API, and by its paths the login host.
    Api,
    Blob,
}

/// What came of a request.
pub enum ExchangeOutcome {
    Answered(Reply),
    /// The answer breaks off after so many bytes of its body.
    Truncated(Reply, usize),
    /// The connection breaks off.
    Dropped {
        read: bool,
    },
}

/// A body as it was sent.
pub struct ReceivedBody {
    pub body: Bytes,
    /// It was larger than is kept, and was thrown away.
    pub body_too_large: bool,
}

/// Work to be done without the lock.
enum Job {
    Script(lifecycle::DueScript),
    Pack(PackJob),
}

enum FaultAction {
    Proceed(Option<Fault>),
    Delay(Duration),
    Drop { read: bool },
    Respond(Reply),
}

impl Emulator {
    pub(in crate::emulator) fn lock_state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state with its time; scripts that are due may not have been called yet.
    pub(in crate::emulator) fn lock_now(&self) -> (MutexGuard<'_, State>, Tick) {
        let mut state = self.lock_state();
        state.wall_now = self.inner.clock.wall_now();
        let now = self.inner.clock.emulated_now() + state.clock_offset;
        (state, now)
    }

    /// Serves a request whose body is still to be read, so that a fault may come before it.
    pub(in crate::emulator) async fn exchange(
        &self,
        vhost: VirtualHost,
        mut request: IncomingRequest,
        body: impl Future<Output = Option<ReceivedBody>>,
    ) -> ExchangeOutcome {
        let (route, matched) = resolve_route(vhost, &request);
        let (number, fault_action) = self.record_arrival(route, &request);
        let mut entry = LogEntryGuard { emulator: self, number, ended: RequestOutcome::Closed };
        if matches!(fault_action, FaultAction::Drop { read: false }) {
            entry.ended = RequestOutcome::Dropped;
            return ExchangeOutcome::Dropped { read: false };
        }
        let Some(sent) = body.await else { return ExchangeOutcome::Dropped { read: true } };
        request.body_too_large = sent.body_too_large;
        request.body = sent.body;
        self.lock_state().log.record_body(number, &request.body);
        let fault = match fault_action {
            FaultAction::Proceed(fault) => fault,
            FaultAction::Delay(time) => {
                tokio::time::sleep(time).await;
                None
            }
            FaultAction::Drop { read } => {
                entry.ended = RequestOutcome::Dropped;
                return ExchangeOutcome::Dropped { read };
            }
            FaultAction::Respond(reply) => {
                entry.ended = RequestOutcome::Status(reply.status.as_u16());
                return ExchangeOutcome::Answered(reply);
            }
        };
        if route == Route::UploadLibraryFile && !request.body_too_large {
            request.upload = Some(read_upload(&request).await);
        }
        let reply = self.serve(route, matched.as_ref(), &request).await;
        let outcome = self.apply_fault(reply, fault);
        entry.ended = match &outcome {
            ExchangeOutcome::Answered(reply) | ExchangeOutcome::Truncated(reply, _) => {
                RequestOutcome::Status(reply.status.as_u16())
            }
            ExchangeOutcome::Dropped { .. } => RequestOutcome::Dropped,
        };
        outcome
    }

    fn record_arrival(&self, route: Route, request: &IncomingRequest) -> (u64, FaultAction) {
        let (mut state, now) = self.lock_now();
        let max_entries = state.switches.log_size;
        let number = state.log.record_arrival(route, request, now, max_entries);
        (number, choose_fault_action(&mut state, route, request))
    }

    async fn serve(
        &self,
        route: Route,
        matched: Option<&RouteMatch>,
        request: &IncomingRequest,
    ) -> Reply {
        loop {
            let job = {
                let (mut state, now) = self.lock_now();
                let due = state.advance(now).map(Job::Script);
                match due.or_else(|| {
                    (route == Route::Blob)
                        .then(|| state.pack_job(&request.path))
                        .flatten()
                        .map(Job::Pack)
                }) {
                    Some(job) => job,
                    None => {
                        let reply = serve_locked(&mut state, route, matched, request, now);
                        let preferred = state.switches.compression;
                        drop(state);
                        return encode(reply, request, preferred);
                    }
                }
            };
            self.run_job(job).await;
        }
    }

    /// Calls a script or packs a file on a thread that may block; here, where there is no such thread.
    async fn run_job(&self, job: Job) {
        match job {
            Job::Script(due) => {
                let emulator = self.clone();
                // Taken in on that thread, since the caller may leave meanwhile.
                let _ = run_blocking(move || emulator.call_script(&due)).await;
            }
            Job::Pack(pack_job) => {
                let blob = pack_job.blob.clone();
                // What cannot be read any more is an empty result.
                let packed =
                    run_blocking(move || pack_job.run()).await.and_then(std::io::Result::ok);
                let packed =
                    packed.unwrap_or(crate::emulator::blob::results::Packed::Bytes(Bytes::new()));
                self.lock_state().results.insert_packed(blob, packed);
            }
        }
    }

    /// Calls a script, and takes in what it did; one that panics has failed.
    pub fn call_script(&self, due: &lifecycle::DueScript) {
        let run = || (due.run)(&due.machine, due.args.as_deref());
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|_| {
                ScriptOutcome {
                    fails: Some("The emulator's script panicked.".to_owned()),
                    ..ScriptOutcome::default()
                }
            });
        self.lock_state().record_script_outcome(due.action, due.step, outcome);
    }

    /// What a fault makes of an answer.
    fn apply_fault(&self, mut reply: Reply, fault: Option<Fault>) -> ExchangeOutcome {
        let Some(fault) = fault else { return ExchangeOutcome::Answered(reply) };
        match (fault.kind, &reply.body) {
            (FaultKind::DropAfter, _) => ExchangeOutcome::Dropped { read: true },
            (FaultKind::Status, _) => ExchangeOutcome::Answered(fault_reply(&fault)),
            (FaultKind::Truncate, Body::Full(body)) => {
                let keep = fault.keep.unwrap_or(body.len() / 2);
                ExchangeOutcome::Truncated(reply, keep)
            }
            (FaultKind::Truncate, Body::Spooled { start, end, .. }) => {
                let keep = fault.keep.unwrap_or(((end - start) / 2) as usize);
                ExchangeOutcome::Truncated(reply, keep)
            }
            (FaultKind::Garble, Body::Full(body)) => {
                reply.body = Body::Full(self.lock_state().faults.garble(body));
                ExchangeOutcome::Answered(reply)
            }
            _ => ExchangeOutcome::Answered(reply),
        }
    }
}

/// Does what may take long on a thread that may block; here, where there is no such thread. Nothing where the runtime ends.
async fn run_blocking<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(handle) => handle.spawn_blocking(task).await.ok(),
        Err(_) => Some(task()),
    }
}

/// Reads an upload's form, a large one on a thread of its own.
async fn read_upload(request: &IncomingRequest) -> Result<UploadForm, String> {
    if request.body.len() <= INLINE_FORM_SIZE {
        return UploadForm::parse(&request.headers, &request.body);
    }
    let (headers, body) = (request.headers.clone(), request.body.clone());
    let read = run_blocking(move || UploadForm::parse(&headers, &body)).await;
    read.unwrap_or_else(|| Err("The form could not be read.".to_owned()))
}

fn resolve_route(vhost: VirtualHost, request: &IncomingRequest) -> (Route, Option<RouteMatch>) {
    if vhost == VirtualHost::Blob {
        return (Route::Blob, None);
    }
    if is_login_path(&request.path) {
        return (Route::Token, None);
    }
    let matched = RouteMatch::from_path(&request.method, &request.path);
    (matched.route(), Some(matched))
}

/// What a fault does before anything is acted on.
fn choose_fault_action(state: &mut State, route: Route, request: &IncomingRequest) -> FaultAction {
    let Some(fault) =
        state.faults.take_fault(&request.method, route, &request.path, &state.switches)
    else {
        return FaultAction::Proceed(None);
    };
    match fault.kind {
        FaultKind::Status if !fault.acts => FaultAction::Respond(fault_reply(&fault)),
        FaultKind::DropBefore => FaultAction::Drop { read: true },
        FaultKind::DropUnread => FaultAction::Drop { read: false },
        FaultKind::Delay => FaultAction::Delay(seconds_to_duration(fault.seconds)),
        FaultKind::ExpireToken => {
            state.tokens.revoke(&request.headers);
            FaultAction::Proceed(None)
        }
        FaultKind::Status | FaultKind::DropAfter | FaultKind::Truncate | FaultKind::Garble => {
            FaultAction::Proceed(Some(fault))
        }
    }
}

fn fault_reply(fault: &Fault) -> Reply {
    let mut reply = Reply::empty(status(fault.status));
    reply.body = Body::Full(Bytes::from(fault.body.clone()));
    for (name, value) in &fault.headers {
        if let Ok(name) = http::HeaderName::from_bytes(name.as_bytes()) {
            reply = reply.with_text(name, value);
        }
    }
    reply
}

fn serve_locked(
    state: &mut State,
    route: Route,
    matched: Option<&RouteMatch>,
    request: &IncomingRequest,
    now: Tick,
) -> Reply {
    if route == Route::Blob {
        return state.handle_blob(request, now);
    }
    state.addresses.adopt_host_header(&request.headers);
    match matched {
        Some(matched) => state.serve(request, matched, now),
        None => {
            let wall_now = state.wall_now;
            state.handle_login(&request.method, &request.path, &request.body, now, wall_now)
        }
    }
}

/// Compresses what the client accepts to have compressed (facts 3.2).
fn encode(mut reply: Reply, request: &IncomingRequest, preferred: Compression) -> Reply {
    let accepted =
        request.headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    if let (true, Some(coding)) = (reply.chunked, Coding::choose(accepted, preferred))
        && let Body::Full(body) = &reply.body
    {
        reply.body = Body::Full(compress(body, coding));
        reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        reply.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    reply
}

/// The log's entry of a request; a request that is dropped before it ended was closed by its client.
struct LogEntryGuard<'a> {
    emulator: &'a Emulator,
    number: u64,
    ended: RequestOutcome,
}

impl Drop for LogEntryGuard<'_> {
    fn drop(&mut self) {
        self.emulator.lock_state().log.record_end(self.number, self.ended);
    }
}
