//! One list call for all open sessions of a client, as often as the read budget allows and as seldom as is polite.

mod pace;
mod siblings;
mod watching;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::client::literal;
use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::model::MachineAction;
use crate::pipeline::Pipeline;
use crate::trace::LOG;
use crate::trace::{self, Trace};
use pace::{Bucket, Pace};
pub use watching::{Attending, Watching};

/// Ids in one `$filter`: the longest that the service takes is not documented.
const CHUNK: usize = 50;

/// What was last seen of an action.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub action: Option<MachineAction>,
    /// Why there will be no further look.
    pub failed: Option<Error>,
}

pub struct Poller {
    pipeline: Arc<Pipeline>,
    pace: Pace,
    table: Mutex<Table>,
    woken: Notify,
    /// Somebody who waited has left.
    left: Notify,
}

#[derive(Default)]
struct Table {
    watched: HashMap<String, Entry>,
    /// Callers who wait for any of our sessions to end.
    attending: usize,
    running: bool,
    looked_at: f64,
    lists: Bucket,
    singles: Bucket,
}

struct Entry {
    looks: watch::Sender<Look>,
    /// Where the requests belong that are made for it.
    trace: Option<Trace>,
    since: f64,
    /// When anything was last heard of it, were it that a list does not have it.
    heard_at: f64,
    pending_since: Option<f64>,
    asked_singly_at: f64,
    failing_since: Option<f64>,
}

impl Poller {
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        let pace = Pace::new(&pipeline.options.limits.read);
        Self { pipeline, pace, table: Mutex::default(), woken: Notify::new(), left: Notify::new() }
    }

    /// Follows an action. What is seen final is not looked at again. `heard_at`: when the
    /// caller last saw it, for the first look to come in good time after that.
    pub fn watch(self: &Arc<Self>, action_id: &str, heard_at: Option<f64>) -> Watching {
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        let new = || Entry {
            looks: watch::Sender::default(),
            trace: Trace::current(),
            since: now,
            heard_at: heard_at.unwrap_or(f64::NEG_INFINITY),
            pending_since: None,
            asked_singly_at: f64::NEG_INFINITY,
            failing_since: None,
        };
        let receiver = table.watched.entry(action_id.to_owned()).or_insert_with(new).looks.subscribe();
        self.start(table);
        Watching::new(self, receiver)
    }

    pub fn attend(self: &Arc<Self>) -> Attending {
        let attending = Attending::new(self);
        self.start(self.table());
        attending
    }

    fn start(self: &Arc<Self>, mut table: MutexGuard<'_, Table>) {
        let runs = std::mem::replace(&mut table.running, true);
        drop(table);
        if runs {
            self.woken.notify_one();
        } else {
            tokio::spawn(Running { poller: self.clone(), ended: false }.run());
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When to look next; none, and the task ends, when nobody waits for anything.
    async fn next_look(&self) -> Option<f64> {
        let share = self.pace.share_left(&self.pipeline).await;
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        table.watched.retain(|_, entry| entry.looks.receiver_count() > 0);
        if table.watched.is_empty() && table.attending == 0 {
            table.running = false;
            return None;
        }
        let due = self.due_at(&table, now) + self.spread();
        let rested = table.looked_at + self.pace.rest(share);
        Some(due.max(rested).max(table.lists.ready_at(now, self.pace.list)))
    }

    fn due_at(&self, table: &Table, now: f64) -> f64 {
        let due = |entry: &Entry| entry.heard_at + self.pace.interval(now, entry.since, entry.pending_since);
        let attended = if table.attending > 0 { table.looked_at + self.pace.attended } else { f64::INFINITY };
        table.watched.values().map(due).fold(attended, f64::min)
    }

    /// Until the last of those who wait has left: a look that is under way then is dropped with its request.
    async fn nobody_waits(&self) {
        let waits =
            |table: &Table| table.attending > 0 || table.watched.values().any(|entry| entry.looks.receiver_count() > 0);
        while waits(&self.table()) {
            self.left.notified().await;
        }
    }

    async fn look(&self) -> Result<()> {
        // Taken first: a look that fails early must not be followed by the next at once.
        self.table().lists.take(self.pipeline.clock.now(), self.pace.list);
        let (_, quota) = self.pipeline.state().await?;
        if !self.hear_siblings(&quota).await {
            self.table().lists.give_back();
            return Ok(());
        }
        let ids = self.ids(&quota).await?;
        let (listed, odd): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_guid(id));
        let mut missing = odd;
        for (at, chunk) in listed.chunks(CHUNK).enumerate() {
            if at > 0 {
                self.table().lists.take(self.pipeline.clock.now(), self.pace.list);
            }
            let found = self.pipeline.machine_actions(Some(&ids_filter(chunk)), None).await?;
            self.tell_siblings(&quota, &found).await;
            let now = self.pipeline.clock.now();
            for id in chunk {
                match found.iter().find(|action| action.id.eq_ignore_ascii_case(id)) {
                    Some(action) => self.saw(&quota, id, action.clone(), now).await,
                    None => missing.push(id.clone()),
                }
            }
        }
        for id in self.whom_to_ask_singly(&missing) {
            self.look_singly(&quota, &id).await;
        }
        Ok(())
    }

    /// Whoever is watched, and whoever else holds a slot: others may wait for those.
    async fn ids(&self, quota: &Quota) -> Result<BTreeSet<String>> {
        let mut ids: BTreeSet<_> = {
            let mut table = self.table();
            table.looked_at = self.pipeline.clock.now();
            table.watched.keys().cloned().collect()
        };
        ids.extend(quota.store().slots().await?.into_iter().filter_map(|slot| slot.action_id));
        Ok(ids)
    }

    /// A list may come from a replica that has not heard of an action yet. As many as the window of that call allows are
    /// asked for singly, those first that were not asked for the longest.
    fn whom_to_ask_singly(&self, missing: &[String]) -> Vec<String> {
        let now = self.pipeline.clock.now();
        let table = &mut *self.table();
        let mut waiting: Vec<_> = Vec::new();
        for id in missing {
            if let Some(entry) = table.watched.get_mut(id) {
                entry.heard_at = now;
                waiting.push((entry.asked_singly_at, id.clone()));
            }
        }
        waiting.sort_by(|a, b| a.0.total_cmp(&b.0));
        waiting.retain(|_| table.singles.try_take(now, self.pace.single));
        for (_, id) in &waiting {
            if let Some(entry) = table.watched.get_mut(id) {
                entry.asked_singly_at = now;
            }
        }
        waiting.into_iter().map(|(_, id)| id).collect()
    }

    /// One call is made for all: it is told of where one of those is that wait for it.
    fn trace_of_any(&self) -> Option<Trace> {
        self.table().watched.values().find_map(|entry| entry.trace.clone())
    }

    async fn look_singly(&self, quota: &Quota, id: &str) {
        let trace = self.table().watched.get(id).and_then(|entry| entry.trace.clone());
        let error = match trace::under(trace, self.pipeline.machine_action(id)).await {
            Ok(action) => {
                self.tell_siblings(quota, std::slice::from_ref(&action)).await;
                return self.saw(quota, id, action, self.pipeline.clock.now()).await;
            }
            Err(error) => error,
        };
        let (now, patience) = (self.pipeline.clock.now(), self.pipeline.options.limits.settle_time);
        let mut table = self.table();
        let Some(entry) = table.watched.get_mut(id) else { return };
        let since = match error.kind {
            Kind::NotFound => entry.since,
            _ if error.retryable => *entry.failing_since.get_or_insert(now),
            _ => f64::NEG_INFINITY,
        };
        if now - since > patience {
            entry.looks.send_modify(|look| look.failed = Some(error));
            table.watched.remove(id);
        }
    }

    async fn saw(&self, quota: &Quota, id: &str, action: MachineAction, seen_at: f64) {
        let done = action.is_done();
        if done && let Err(error) = quota.close(id).await {
            log::warn!(target: LOG, "could not note that session {id} is over: {error}");
        }
        let mut table = self.table();
        let Some(entry) = table.watched.get_mut(id) else { return };
        entry.heard_at = seen_at;
        entry.failing_since = None;
        entry.pending_since = (action.status == "Pending").then(|| entry.pending_since.unwrap_or(seen_at));
        entry.looks.send_modify(|look| look.action = Some(action));
        if done {
            table.watched.remove(id);
        }
    }

    fn fail_all(&self, error: &Error) {
        for (id, entry) in self.table().watched.drain() {
            let error = error.clone().with_action(id);
            entry.looks.send_modify(|look| look.failed = Some(error));
        }
    }
}

/// The poller's one task.
struct Running {
    poller: Arc<Poller>,
    /// It found that nobody waits, and another may run already.
    ended: bool,
}

impl Running {
    async fn run(mut self) {
        let poller = self.poller.clone();
        let clock = poller.pipeline.clock;
        let mut failing_since = None;
        while let Some(at) = poller.next_look().await {
            let pause = at - clock.now();
            if pause > 0.0 {
                tokio::select! {
                    () = clock.sleep(pause) => {}
                    () = poller.woken.notified() => continue,
                }
            }
            let looked = tokio::select! {
                looked = trace::under(poller.trace_of_any(), poller.look()) => looked,
                () = poller.nobody_waits() => continue,
            };
            match looked {
                Ok(()) => failing_since = None,
                Err(error) => {
                    let now = clock.now();
                    let since = *failing_since.get_or_insert(now);
                    if !error.retryable || now - since > poller.pipeline.options.limits.settle_time {
                        poller.fail_all(&error);
                    }
                }
            }
        }
        self.ended = true;
    }
}

impl Drop for Running {
    /// Cut off in the middle, it leaves those who wait to start another.
    fn drop(&mut self) {
        if !self.ended {
            let mut table = self.poller.table();
            table.running = false;
            table.watched.clear();
        }
    }
}

/// What is no GUID would spoil the whole list for the others.
fn is_guid(id: &str) -> bool {
    id.len() == 36 && uuid::Uuid::parse_str(id).is_ok()
}

fn ids_filter(ids: &[String]) -> String {
    format!("id in ({})", ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(","))
}
