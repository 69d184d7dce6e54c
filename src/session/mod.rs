//! A live response session: submitted exactly once, waited for, its results fetched.

mod actions;
mod admission;
mod cancel;
mod evidence;
mod fetch;
mod find;
mod history;
mod local_content;
mod lookup;
pub mod manifest;
mod new_ids;
mod next_step;
mod plan;
mod post;
mod post_task;
mod refresh;
mod response;
mod result_blob;
mod results;
mod save_to;
mod span_attributes;
mod store_check;
mod stream;
mod submit;
mod tag;
mod transcript;
mod wait;
mod wait_limit;

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

pub use new_ids::new_correlation_id;
pub use plan::{SubmitOptions, SubmitRequest};
pub use post_task::{posts_in_flight, reset_posts_in_flight};
pub use results::{CommandResult, SessionResult};
pub use save_to::SaveTo;
pub use stream::{FileStream, StreamItem};
pub use tag::Tag;
pub use wait::PENDING_CANCEL_COMMENT;

use crate::error::{Error, Result};
use crate::library::LocalFiles;
use crate::model::MachineAction;
use crate::pipeline::Pipeline;
use crate::poller::Poller;
use crate::text::printable;
use crate::trace::{self, LOG_TARGET};

/// Called with the machine action each time that its status or a command's status changed.
pub type UpdateCallback = Arc<dyn Fn(&MachineAction) + Send + Sync>;

/// The sessions of one client: starts, finds and follows them.
pub struct Sessions {
    pub pipeline: Arc<Pipeline>,
    pub local_files: LocalFiles,
    poller: Arc<Poller>,
    /// What the sessions were made from, for objects that have only the sessions.
    owner: Option<Weak<dyn Any + Send + Sync>>,
}

/// A handle for one machine action.
#[derive(Clone)]
pub struct Session {
    sessions: Arc<Sessions>,
    pub id: String,
    pub machine_id: Option<String>,
    pub correlation_id: Option<String>,
    /// The action existed already: this call did not start it.
    pub adopted: bool,
    /// The action as it was last read, and the time of that.
    latest: Arc<Mutex<Option<(f64, MachineAction)>>>,
    /// The correlation id that the store has for the action, if the caller did not give one.
    stored_id: Arc<OnceLock<Option<String>>>,
}

/// Options of a run, in addition to its submit request.
#[derive(Clone, Default)]
pub struct RunOptions {
    pub save_to: Option<SaveTo>,
    /// Seconds for submit, wait and fetch together.
    pub timeout: Option<f64>,
    /// Seconds after which a session that is still Pending is cancelled.
    pub cancel_pending_after: Option<f64>,
    pub on_update: Option<UpdateCallback>,
}

impl Sessions {
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self {
            poller: Arc::new(Poller::new(pipeline.clone())),
            pipeline,
            local_files: LocalFiles::default(),
            owner: None,
        }
    }

    /// Creates the sessions of an owner, which [`Sessions::owner`] returns as long as it lives.
    pub fn with_owner(pipeline: Arc<Pipeline>, owner: Weak<dyn Any + Send + Sync>) -> Self {
        Self { owner: Some(owner), ..Self::new(pipeline) }
    }

    pub fn owner(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.owner.as_ref()?.upgrade()
    }

    /// Returns a handle for the action with this id. Sends no request.
    pub fn session(self: &Arc<Self>, action_id: &str) -> Session {
        Session {
            sessions: self.clone(),
            id: action_id.to_owned(),
            machine_id: None,
            correlation_id: None,
            adopted: true,
            latest: Arc::default(),
            stored_id: Arc::default(),
        }
    }

    /// Submits, waits for the end and fetches the results.
    pub async fn run(
        self: &Arc<Self>,
        submit: SubmitRequest,
        options: RunOptions,
    ) -> Result<SessionResult> {
        let machine_id = submit.machine_id.clone();
        let running = self.submit_wait_fetch(submit, options);
        trace::in_span(
            "live_response run",
            || span_attributes::for_machine(&machine_id),
            running,
            span_attributes::for_result,
        )
        .await
    }

    async fn submit_wait_fetch(
        self: &Arc<Self>,
        submit: SubmitRequest,
        options: RunOptions,
    ) -> Result<SessionResult> {
        let clock = self.pipeline.clock;
        if let Some(save_to) = &options.save_to {
            save_to.make_folder().await?;
        }
        let deadline = options.timeout.map(|seconds| clock.now() + seconds);
        let session = self.submit(submit, options.timeout).await?;
        if let (Some(on_update), Some(action)) = (&options.on_update, session.action()) {
            on_update(&action);
        }
        // The timeout covers the whole run, so the wait gets the time that the submit did not use.
        let left = deadline.map(|deadline| (deadline - clock.now()).max(0.0));
        session.wait(left, options.on_update, options.cancel_pending_after).await?;
        session.fetch_until(deadline, options.save_to.as_ref(), session.adopted).await
    }
}

impl Session {
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Returns the action as it was last read.
    pub fn action(&self) -> Option<MachineAction> {
        self.last_seen().map(|(_, action)| action)
    }

    /// Returns the machine's id, if it was given or the action was seen.
    pub fn known_machine_id(&self) -> Option<String> {
        self.machine_id.clone().or_else(|| self.action()?.machine_id)
    }

    /// Returns the correlation id, if it was given or the store had it when the action was seen.
    pub fn known_correlation_id(&self) -> Option<String> {
        self.correlation_id.clone().or_else(|| self.stored_id.get().cloned().flatten())
    }

    /// Finds the correlation id in the store, once. It has those of the open sessions.
    pub(super) async fn find_correlation_id(&self) {
        if self.correlation_id.is_some() || self.stored_id.get().is_some() {
            return;
        }
        let Ok((_, quota)) = self.sessions.pipeline.shared_quota().await else { return };
        let Ok(slots) = quota.store().slots().await else { return };
        let is_this = |id: &String| id.eq_ignore_ascii_case(&self.id);
        let slot = slots.into_iter().find(|slot| slot.action_id.as_ref().is_some_and(is_this));
        let _ = self.stored_id.set(slot.and_then(|slot| slot.correlation_id));
    }

    /// Adds to an error what is known of the session.
    pub(super) fn in_context(&self, mut error: Error) -> Error {
        error.action_id = error.action_id.take().or_else(|| Some(self.id.clone()));
        error.machine_id = error.machine_id.take().or_else(|| self.known_machine_id());
        error.correlation_id = error.correlation_id.take().or_else(|| self.known_correlation_id());
        let tenant_id = || self.sessions.pipeline.tokens().tenant_id();
        error.tenant_id = error.tenant_id.take().or_else(tenant_id);
        error
    }

    fn last_seen(&self) -> Option<(f64, MachineAction)> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn record_action(&self, action: &MachineAction) {
        self.record_action_read_at(action, self.sessions.pipeline.clock.now());
    }

    fn record_action_read_at(&self, action: &MachineAction, at: f64) {
        let before = self
            .latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace((at, action.clone()));
        if before.is_none_or(|(_, before)| before.status != action.status) {
            let machine =
                action.machine_id.as_deref().or(self.machine_id.as_deref()).unwrap_or("unknown");
            let (id, status) = (&self.id, printable(&action.status));
            let (machine, status) = match status.as_ref() {
                "" => (printable(machine), "in a state that the service does not name"),
                status => (printable(machine), status),
            };
            log::info!(target: LOG_TARGET, "session {id} on machine {machine} is {status}");
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Session");
        shown.field("id", &self.id).field("machine_id", &self.machine_id);
        shown
            .field("correlation_id", &self.correlation_id)
            .field("adopted", &self.adopted)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
