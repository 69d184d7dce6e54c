//! Serves a request under the lock. Scripts and the packing of files run without it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};

use crate::emulator::Emulator;
use crate::emulator::blob::store::{PackJob, PackedBlob};
use crate::emulator::clock::Tick;
use crate::emulator::control::switches::Compression;
use crate::emulator::inventory::upload_form::UploadForm;
use crate::emulator::session::events::DueScript;
use crate::emulator::session::script::ScriptOutcome;
use crate::emulator::state::State;
use crate::emulator::wire::compress::{Coding, compress};
use crate::emulator::wire::cors;
use crate::emulator::wire::reply::{Reply, ReplyBody};
use crate::emulator::wire::request::IncomingRequest;
use crate::emulator::wire::routes::{Route, RouteMatch};

/// A form up to this size is parsed here. A larger one is parsed on a thread that may block.
const INLINE_FORM_SIZE: usize = 64 << 10;

/// Work to do without the lock.
enum UnlockedWork {
    Script(DueScript),
    Pack(PackJob),
}

impl Emulator {
    /// Serves a request, after the scripts that are due and the packing that it needs.
    pub(in crate::emulator) async fn serve(
        &self,
        route: Route,
        matched: Option<&RouteMatch>,
        request: &IncomingRequest,
    ) -> Reply {
        loop {
            // Other calls may change the state while this one runs a script or packs a file, so
            // each round reads the state again.
            let work = {
                let (mut state, now) = self.lock_now();
                let due = state.advance(now).map(UnlockedWork::Script);
                match due.or_else(|| {
                    (route == Route::Blob)
                        .then(|| state.pack_job(&request.path))
                        .flatten()
                        .map(UnlockedWork::Pack)
                }) {
                    Some(work) => work,
                    None => {
                        let reply = serve_locked(&mut state, route, matched, request, now);
                        let preferred = state.switches.compression;
                        // Compressing a page of 10,000 items is slow, so the lock is released
                        // first.
                        drop(state);
                        return encode(reply, request, preferred);
                    }
                }
            };
            self.run_unlocked(work).await;
        }
    }

    /// Runs a script or packs a file on a thread that may block.
    async fn run_unlocked(&self, work: UnlockedWork) {
        match work {
            UnlockedWork::Script(due) => {
                let emulator = self.clone();
                // The outcome is recorded on that thread too: if the client goes away, this future
                // is dropped, and the session would wait for its script forever.
                let _ = run_blocking(move || emulator.run_script(&due)).await;
            }
            UnlockedWork::Pack(pack_job) => {
                let blob = pack_job.blob.clone();
                // If the file was removed, the result becomes empty. Without a result, each
                // call would try to pack it again.
                let packed =
                    run_blocking(move || pack_job.run()).await.and_then(std::io::Result::ok);
                let packed = packed.unwrap_or(PackedBlob::Bytes(Bytes::new()));
                self.lock_state().results.insert_packed(blob, packed);
            }
        }
    }

    /// Runs a script and records its outcome. A panic fails the script's command.
    pub fn run_script(&self, due: &DueScript) {
        let run = || (due.run)(&due.machine, due.args.as_deref());
        let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| ScriptOutcome {
            fails: Some("The emulator's script panicked.".to_owned()),
            ..ScriptOutcome::default()
        });
        self.lock_state().record_script_outcome(due.action, due.step, outcome);
    }
}

/// Runs a task on a thread that may block, or on this one outside of a runtime. Returns `None` if
/// the runtime shuts down first.
pub async fn run_blocking<T: Send + 'static>(
    task: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(handle) => handle.spawn_blocking(task).await.ok(),
        Err(_) => Some(task()),
    }
}

/// Parses an upload's form.
pub async fn read_upload(request: &IncomingRequest) -> Result<UploadForm, String> {
    if request.body.len() <= INLINE_FORM_SIZE {
        return UploadForm::parse(&request.headers, &request.body);
    }
    let (headers, body) = (request.headers.clone(), request.body.clone());
    let read = run_blocking(move || UploadForm::parse(&headers, &body)).await;
    read.unwrap_or_else(|| Err("The form could not be read.".to_owned()))
}

/// Calls the handler of the host that the request is for.
fn serve_locked(
    state: &mut State,
    route: Route,
    matched: Option<&RouteMatch>,
    request: &IncomingRequest,
    now: Tick,
) -> Reply {
    if state.log.feed.is_none() {
        return serve_unobserved(state, route, matched, request, now);
    }
    let before = state.violations();
    let reply = serve_unobserved(state, route, matched, request, now);
    state.note_call(request, matched, &reply, before);
    reply
}

fn serve_unobserved(
    state: &mut State,
    route: Route,
    matched: Option<&RouteMatch>,
    request: &IncomingRequest,
    now: Tick,
) -> Reply {
    if let Some(reply) = cors::preflight(state.switches.cors_origin.as_deref(), request) {
        return reply;
    }
    if route == Route::Blob {
        return state.handle_blob(request, now);
    }
    let Some(asked) = &request.addresses else {
        state.addresses.adopt_host_header(&request.headers);
        return serve_host(state, matched, request, now);
    };
    // The lock is held, so no other request sees these.
    let own = std::mem::replace(&mut state.addresses, asked.as_ref().clone());
    let reply = serve_host(state, matched, request, now);
    state.addresses = own;
    reply
}

fn serve_host(
    state: &mut State,
    matched: Option<&RouteMatch>,
    request: &IncomingRequest,
    now: Tick,
) -> Reply {
    match matched {
        Some(matched) => state.serve(request, matched, now),
        None => state.handle_login(request, now),
    }
}

/// Compresses the response if the client accepts it (docs/service.md, section 3.2).
pub fn encode(mut reply: Reply, request: &IncomingRequest, preferred: Compression) -> Reply {
    let accepted =
        request.headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
    if let (true, Some(coding)) = (reply.chunked, Coding::choose(accepted, preferred))
        && let ReplyBody::Full(body) = &reply.body
    {
        reply.body = ReplyBody::Full(compress(body, coding));
        reply.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        reply.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    reply
}
