//! One list call for all open sessions of a client, as often as the read budget allows and as seldom as is polite.

mod pace;
mod status_cache;
mod subscription;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::client::odata_literal;
use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::model::{MachineAction, is_guid};
use crate::pipeline::Pipeline;
use crate::trace::LOG_TARGET;
use crate::trace::{self, TraceContext};
use pace::{Pace, TokenBucket};
pub use subscription::{SlotWatch, Subscription};

/// Ids in one `$filter`: the longest that the service takes is not documented.
const IDS_PER_FILTER: usize = 50;

/// What was last seen of an action.
#[derive(Clone, Debug, Default)]
pub struct ActionUpdate {
    pub action: Option<MachineAction>,
    /// Why there will be no further look.
    pub failed: Option<Error>,
}

pub struct Poller {
    pipeline: Arc<Pipeline>,
    pace: Pace,
    table: Mutex<WatchTable>,
    woken: Notify,
    /// Somebody who waited has left.
    watcher_dropped: Notify,
}

#[derive(Default)]
struct WatchTable {
    watched: HashMap<String, WatchEntry>,
    /// Callers who wait for any of our sessions to end.
    slot_watches: usize,
    running: bool,
    polled_at: f64,
    list_bucket: TokenBucket,
    single_bucket: TokenBucket,
}

struct WatchEntry {
    updates: watch::Sender<ActionUpdate>,
    /// Where the requests belong that are made for it.
    trace: Option<TraceContext>,
    since: f64,
    /// When anything was last heard of it, were it that a list does not have it.
    last_update_at: f64,
    pending_since: Option<f64>,
    polled_individually_at: f64,
    failing_since: Option<f64>,
}

impl Poller {
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        let pace = Pace::new(&pipeline.options.limits.read);
        Self {
            pipeline,
            pace,
            table: Mutex::default(),
            woken: Notify::new(),
            watcher_dropped: Notify::new(),
        }
    }

    /// Follows an action. What is seen final is not looked at again. `last_update_at`: when the
    /// caller last saw it, for the first look to come in good time after that.
    pub fn subscribe(
        self: &Arc<Self>,
        action_id: &str,
        last_update_at: Option<f64>,
    ) -> Subscription {
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        let new = || WatchEntry {
            updates: watch::Sender::default(),
            trace: TraceContext::current(),
            since: now,
            last_update_at: last_update_at.unwrap_or(f64::NEG_INFINITY),
            pending_since: None,
            polled_individually_at: f64::NEG_INFINITY,
            failing_since: None,
        };
        let receiver =
            table.watched.entry(action_id.to_owned()).or_insert_with(new).updates.subscribe();
        self.wake_or_spawn(table);
        Subscription::new(self, receiver)
    }

    pub fn watch_slots(self: &Arc<Self>) -> SlotWatch {
        let slot_watch = SlotWatch::new(self);
        self.wake_or_spawn(self.table());
        slot_watch
    }

    fn wake_or_spawn(self: &Arc<Self>, mut table: MutexGuard<'_, WatchTable>) {
        let was_running = std::mem::replace(&mut table.running, true);
        drop(table);
        if was_running {
            self.woken.notify_one();
        } else {
            tokio::spawn(PollTask { poller: self.clone(), ended: false }.run());
        }
    }

    fn table(&self) -> MutexGuard<'_, WatchTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to look next; none, and the task ends, when nobody waits for anything.
    async fn next_poll_at(&self) -> Option<f64> {
        let share = self.pace.free_share(&self.pipeline).await;
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        table.watched.retain(|_, entry| entry.updates.receiver_count() > 0);
        if table.watched.is_empty() && table.slot_watches == 0 {
            table.running = false;
            return None;
        }
        let due = self.due_at(&table, now) + self.jitter();
        let rested = table.polled_at + self.pace.min_gap(share);
        Some(due.max(rested).max(table.list_bucket.ready_at(now, self.pace.list)))
    }

    fn due_at(&self, table: &WatchTable, now: f64) -> f64 {
        let due = |entry: &WatchEntry| {
            entry.last_update_at + self.pace.interval(now, entry.since, entry.pending_since)
        };
        let attended = if table.slot_watches > 0 {
            table.polled_at + self.pace.slot_interval
        } else {
            f64::INFINITY
        };
        table.watched.values().map(due).fold(attended, f64::min)
    }

    /// Until the last of those who wait has left: a look that is under way then is dropped with its request.
    async fn wait_until_unwatched(&self) {
        let has_watchers = |table: &WatchTable| {
            table.slot_watches > 0
                || table.watched.values().any(|entry| entry.updates.receiver_count() > 0)
        };
        while has_watchers(&self.table()) {
            self.watcher_dropped.notified().await;
        }
    }

    async fn poll_once(&self) -> Result<()> {
        // Taken first: a look that fails early must not be followed by the next at once.
        self.table().list_bucket.take(self.pipeline.clock.now(), self.pace.list);
        let (_, quota) = self.pipeline.shared_quota().await?;
        if !self.read_cached_statuses(&quota).await {
            self.table().list_bucket.refund();
            return Ok(());
        }
        let ids = self.ids_to_poll(&quota).await?;
        // One id that is not a GUID would fail the whole list call.
        let (listed, not_guids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_guid(id));
        let mut missing = not_guids;
        for (at, chunk) in listed.chunks(IDS_PER_FILTER).enumerate() {
            if at > 0 {
                self.table().list_bucket.take(self.pipeline.clock.now(), self.pace.list);
            }
            let found = self.pipeline.list_machine_actions(Some(&ids_filter(chunk)), None).await?;
            self.cache_statuses(&quota, &found).await;
            let now = self.pipeline.clock.now();
            for id in chunk {
                match found.iter().find(|action| action.id.eq_ignore_ascii_case(id)) {
                    Some(action) => self.record_action(&quota, id, action.clone(), now).await,
                    None => missing.push(id.clone()),
                }
            }
        }
        for id in self.ids_to_poll_individually(&missing) {
            self.poll_individually(&quota, &id).await;
        }
        Ok(())
    }

    /// Whoever is watched, and whoever else holds a slot: others may wait for those.
    async fn ids_to_poll(&self, quota: &Quota) -> Result<BTreeSet<String>> {
        let mut ids: BTreeSet<_> = {
            let mut table = self.table();
            table.polled_at = self.pipeline.clock.now();
            table.watched.keys().cloned().collect()
        };
        ids.extend(quota.store().slots().await?.into_iter().filter_map(|slot| slot.action_id));
        Ok(ids)
    }

    /// A list may come from a replica that has not heard of an action yet. As many as the window of that call allows are
    /// asked for singly, those first that were not asked for the longest.
    fn ids_to_poll_individually(&self, missing: &[String]) -> Vec<String> {
        let now = self.pipeline.clock.now();
        let table = &mut *self.table();
        let mut waiting: Vec<_> = Vec::new();
        for id in missing {
            if let Some(entry) = table.watched.get_mut(id) {
                entry.last_update_at = now;
                waiting.push((entry.polled_individually_at, id.clone()));
            }
        }
        waiting.sort_by(|a, b| a.0.total_cmp(&b.0));
        waiting.retain(|_| table.single_bucket.try_take(now, self.pace.single));
        for (_, id) in &waiting {
            if let Some(entry) = table.watched.get_mut(id) {
                entry.polled_individually_at = now;
            }
        }
        waiting.into_iter().map(|(_, id)| id).collect()
    }

    /// One call is made for all: it is told of where one of those is that wait for it.
    fn any_watcher_trace(&self) -> Option<TraceContext> {
        self.table().watched.values().find_map(|entry| entry.trace.clone())
    }

    async fn poll_individually(&self, quota: &Quota, id: &str) {
        let trace = self.table().watched.get(id).and_then(|entry| entry.trace.clone());
        let error = match trace::with_trace(trace, self.pipeline.get_machine_action(id)).await {
            Ok(action) => {
                self.cache_statuses(quota, std::slice::from_ref(&action)).await;
                return self.record_action(quota, id, action, self.pipeline.clock.now()).await;
            }
            Err(error) => error,
        };
        let (now, settle_time) =
            (self.pipeline.clock.now(), self.pipeline.options.limits.settle_time);
        let mut table = self.table();
        let Some(entry) = table.watched.get_mut(id) else { return };
        let since = match error.kind {
            Kind::NotFound => entry.since,
            _ if error.retryable => *entry.failing_since.get_or_insert(now),
            _ => f64::NEG_INFINITY,
        };
        if now - since > settle_time {
            entry.updates.send_modify(|update| update.failed = Some(error));
            table.watched.remove(id);
        }
    }

    async fn record_action(&self, quota: &Quota, id: &str, action: MachineAction, seen_at: f64) {
        let done = action.is_done();
        if done && let Err(error) = quota.close_session(id).await {
            log::warn!(target: LOG_TARGET, "could not note that session {id} is over: {error}");
        }
        let mut table = self.table();
        let Some(entry) = table.watched.get_mut(id) else { return };
        entry.last_update_at = seen_at;
        entry.failing_since = None;
        entry.pending_since =
            (action.status == "Pending").then(|| entry.pending_since.unwrap_or(seen_at));
        entry.updates.send_modify(|update| update.action = Some(action));
        if done {
            table.watched.remove(id);
        }
    }

    fn fail_all(&self, error: &Error) {
        for (id, entry) in self.table().watched.drain() {
            let error = error.clone().with_action(id);
            entry.updates.send_modify(|update| update.failed = Some(error));
        }
    }
}

/// The poller's one task.
struct PollTask {
    poller: Arc<Poller>,
    /// It found that nobody waits, and another may run already.
    ended: bool,
}

impl PollTask {
    async fn run(mut self) {
        let poller = self.poller.clone();
        let clock = poller.pipeline.clock;
        let mut failing_since = None;
        while let Some(at) = poller.next_poll_at().await {
            let pause = at - clock.now();
            if pause > 0.0 {
                tokio::select! {
                    () = clock.sleep(pause) => {}
                    () = poller.woken.notified() => continue,
                }
            }
            let polled = tokio::select! {
                polled = trace::with_trace(poller.any_watcher_trace(), poller.poll_once()) => polled,
                () = poller.wait_until_unwatched() => continue,
            };
            match polled {
                Ok(()) => failing_since = None,
                Err(error) => {
                    let now = clock.now();
                    let since = *failing_since.get_or_insert(now);
                    if !error.retryable || now - since > poller.pipeline.options.limits.settle_time
                    {
                        poller.fail_all(&error);
                    }
                }
            }
        }
        self.ended = true;
    }
}

impl Drop for PollTask {
    /// Cut off in the middle, it leaves those who wait to start another.
    fn drop(&mut self) {
        if !self.ended {
            let mut table = self.poller.table();
            table.running = false;
            table.watched.clear();
        }
    }
}

fn ids_filter(ids: &[String]) -> String {
    format!("id in ({})", ids.iter().map(|id| odata_literal(id)).collect::<Vec<_>>().join(","))
}
