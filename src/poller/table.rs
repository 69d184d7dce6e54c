//! The table of watched actions: their waiting callers and their last known state. No I/O.

use std::collections::HashMap;

use tokio::sync::watch;

use super::ActionUpdate;
use super::token_bucket::TokenBucket;
use crate::error::{Error, Kind};
use crate::model::MachineAction;
use crate::trace::TraceContext;

#[derive(Default)]
pub(super) struct WatchTable {
    pub watched: HashMap<String, WatchEntry>,
    /// Callers that wait for any of our sessions to end.
    pub slot_watches: usize,
    /// The poller's task is running.
    pub running: bool,
    pub polled_at: f64,
    pub list_bucket: TokenBucket,
    pub single_bucket: TokenBucket,
}

/// One watched action.
pub(super) struct WatchEntry {
    pub updates: watch::Sender<ActionUpdate>,
    /// The caller's span: the requests for this action belong below it.
    pub trace: Option<TraceContext>,
    pub since: f64,
    /// When the action was last looked up, even if the list did not have it.
    pub last_update_at: f64,
    pub pending_since: Option<f64>,
    pub polled_individually_at: f64,
    pub failing_since: Option<f64>,
}

impl WatchTable {
    /// Adds a watcher of the action.
    pub fn watch(
        &mut self,
        action_id: &str,
        last_update_at: Option<f64>,
        now: f64,
    ) -> watch::Receiver<ActionUpdate> {
        let new = || WatchEntry {
            updates: watch::Sender::default(),
            trace: TraceContext::current(),
            since: now,
            last_update_at: last_update_at.unwrap_or(f64::NEG_INFINITY),
            pending_since: None,
            polled_individually_at: f64::NEG_INFINITY,
            failing_since: None,
        };
        self.watched.entry(action_id.to_owned()).or_insert_with(new).updates.subscribe()
    }

    /// Removes the actions that no caller watches any more.
    pub fn prune(&mut self) {
        self.watched.retain(|_, entry| entry.updates.receiver_count() > 0);
    }

    pub fn has_watchers(&self) -> bool {
        self.slot_watches > 0
            || self.watched.values().any(|entry| entry.updates.receiver_count() > 0)
    }

    /// Passes the action to its watchers. An action that has ended is not polled again.
    pub fn record_action(&mut self, id: &str, action: MachineAction, read_at: f64) {
        let done = action.is_done();
        let Some(entry) = self.watched.get_mut(id) else { return };
        entry.last_update_at = read_at;
        entry.failing_since = None;
        entry.pending_since =
            (action.status == "Pending").then(|| entry.pending_since.unwrap_or(read_at));
        entry.updates.send_modify(|update| update.action = Some(action));
        if done {
            self.watched.remove(id);
        }
    }

    /// Records that an action could not be read. Its watchers get the error once that is final.
    pub fn record_failure(&mut self, id: &str, error: Error, now: f64, settle_time: f64) {
        let Some(entry) = self.watched.get_mut(id) else { return };
        let (is_temporary, since) = match error.kind {
            // A replica may not know a new action yet and answer 404.
            Kind::NotFound => (true, entry.since),
            _ => (error.retryable, *entry.failing_since.get_or_insert(now)),
        };
        if gives_up(is_temporary, since, now, settle_time) {
            entry.updates.send_modify(|update| update.failed = Some(error));
            self.watched.remove(id);
        }
    }

    /// Ends every watch with the error.
    pub fn fail_all(&mut self, error: &Error) {
        for (id, entry) in self.watched.drain() {
            let error = error.clone().with_action(id);
            entry.updates.send_modify(|update| update.failed = Some(error));
        }
    }

    /// Returns the seconds since the oldest of the known statuses was read.
    pub fn oldest_status_age(&self, now: f64) -> f64 {
        let since_slot_poll = if self.slot_watches > 0 { now - self.polled_at } else { 0.0 };
        self.watched
            .values()
            .map(|entry| now - entry.last_update_at.max(entry.since))
            .fold(since_slot_poll, f64::max)
    }

    /// Records that some client polled the open sessions.
    pub fn record_slot_poll(&mut self, at: f64) {
        self.polled_at = self.polled_at.max(at);
    }

    /// Returns the span of any watcher. One list call serves them all.
    pub fn any_trace(&self) -> Option<TraceContext> {
        self.watched.values().find_map(|entry| entry.trace.clone())
    }
}

/// Returns whether a failure is final: it is not temporary, or it lasted longer than the settle
/// time.
pub(super) fn gives_up(is_temporary: bool, since: f64, now: f64, settle_time: f64) -> bool {
    !is_temporary || now - since > settle_time
}
