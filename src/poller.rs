//! One list call for all open sessions of a client, as often as the read budget allows and as seldom as is polite.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::client::literal;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::operation::Operation;
use crate::pipeline::Pipeline;
use crate::state::Memory;

/// Ids in one `$filter`: the longest that the service takes is not documented.
const CHUNK: usize = 50;
/// Of the read windows: the rest is left to settling, which must not stand in line behind a poll.
const SHARE: f64 = 0.8;
/// A Pending session is looked at this many times less often than a running one, at the most.
const SLOWEST: f64 = 10.0;

/// What was last seen of an action.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub action: Option<MachineAction>,
    /// Why there will be no further look.
    pub failed: Option<Error>,
}

pub struct Poller {
    pipeline: Arc<Pipeline>,
    watched: Mutex<Table>,
    woken: Notify,
    left: Notify,
}

/// Follows an action until it is dropped.
pub struct Watching {
    /// None while it is dropped.
    looks: Option<watch::Receiver<Look>>,
    poller: Arc<Poller>,
}

impl Watching {
    /// The next look that was not seen yet; whether there will be others.
    pub async fn next(&mut self) -> (Look, bool) {
        let Some(looks) = &mut self.looks else { return (Look::default(), false) };
        let more = looks.changed().await.is_ok();
        (looks.borrow_and_update().clone(), more)
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.looks = None;
        self.poller.left.notify_one();
    }
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    running: bool,
}

struct Entry {
    looks: watch::Sender<Look>,
    since: f64,
    pending_since: Option<f64>,
}

impl Poller {
    pub fn new(pipeline: Arc<Pipeline>) -> Self {
        Self { pipeline, watched: Mutex::default(), woken: Notify::new(), left: Notify::new() }
    }

    /// Follows an action. What is seen final is not looked at again.
    pub fn watch(self: &Arc<Self>, action_id: &str) -> Watching {
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        let entry = table.entries.entry(action_id.to_owned()).or_insert_with(|| Entry {
            looks: watch::Sender::default(),
            since: now,
            pending_since: None,
        });
        let receiver = entry.looks.subscribe();
        let start = !std::mem::replace(&mut table.running, true);
        drop(table);
        if start {
            tokio::spawn(self.clone().run());
        } else {
            self.woken.notify_one();
        }
        Watching { looks: Some(receiver), poller: self.clone() }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>) {
        let mut failing_since = None;
        while let Some(pause) = self.pause() {
            tokio::select! {
                () = self.pipeline.clock.sleep(pause) => {}
                () = self.woken.notified() => continue,
            }
            let looked = tokio::select! {
                looked = self.look() => looked,
                () = self.nobody_watches() => continue,
            };
            match looked {
                Ok(()) => failing_since = None,
                Err(error) => {
                    let now = self.pipeline.clock.now();
                    let since = *failing_since.get_or_insert(now);
                    if !error.retryable || now - since > self.pipeline.options.limits.settle_time {
                        self.fail_all(&error);
                    }
                }
            }
        }
    }

    /// Until the last of those who watch has left: a look that is under way then is dropped with its request.
    async fn nobody_watches(&self) {
        while self.table().entries.values().any(|entry| entry.looks.receiver_count() > 0) {
            self.left.notified().await;
        }
    }

    /// Seconds until the next look; none, and the task ends, when nobody watches.
    fn pause(&self) -> Option<f64> {
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        table.entries.retain(|_, entry| entry.looks.receiver_count() > 0);
        if table.entries.is_empty() {
            table.running = false;
            return None;
        }
        let chunks = table.entries.len().div_ceil(CHUNK) as f64;
        let base = self.base() * chunks;
        let fast = base / 3.0;
        let eager = |entry: &Entry| match entry.pending_since {
            _ if now - entry.since < base => fast,
            Some(since) => ((now - since) / 20.0).clamp(base, base * SLOWEST),
            None => base,
        };
        let pause = table.entries.values().map(eager).fold(base * SLOWEST, f64::min);
        Some(match self.budget_left() {
            share if share <= 1.0 - SHARE => base * SLOWEST,
            share if share <= 0.5 => pause.max(base),
            _ => pause,
        })
    }

    /// The pause at which a steady stream of looks keeps to its share of every read window.
    fn base(&self) -> f64 {
        let rates = &self.pipeline.options.limits.read;
        rates.iter().map(|rate| rate.per / (f64::from(rate.count) * SHARE)).fold(0.05, f64::max)
    }

    fn budget_left(&self) -> f64 {
        self.pipeline.known_memory().map_or(1.0, |memory| memory.line(Operation::ListMachineActions).share_left())
    }

    async fn look(&self) -> Result<()> {
        let ids: Vec<String> = self.table().entries.keys().cloned().collect();
        let (_, memory) = self.pipeline.state().await?;
        for chunk in ids.chunks(CHUNK) {
            let found = self.pipeline.machine_actions(Some(&ids_filter(chunk)), None).await?;
            for id in chunk {
                match found.iter().find(|action| action.id.eq_ignore_ascii_case(id)) {
                    Some(action) => self.saw(&memory, id, action.clone()),
                    None => self.look_singly(&memory, id).await?,
                }
            }
        }
        Ok(())
    }

    /// A list may come from a replica that has not heard of the action yet.
    async fn look_singly(&self, memory: &Memory, id: &str) -> Result<()> {
        match self.pipeline.machine_action(id).await {
            Ok(action) => self.saw(memory, id, action),
            Err(error) if error.kind == Kind::NotFound => {
                let mut table = self.table();
                let patience = self.pipeline.options.limits.settle_time;
                let now = self.pipeline.clock.now();
                if let Some(entry) = table.entries.get_mut(id).filter(|entry| now - entry.since > patience) {
                    entry.looks.send_modify(|look| look.failed = Some(error));
                    table.entries.remove(id);
                }
            }
            Err(error) if error.retryable => return Err(error),
            Err(error) => {
                if let Some(entry) = self.table().entries.remove(id) {
                    entry.looks.send_modify(|look| look.failed = Some(error));
                }
            }
        }
        Ok(())
    }

    fn saw(&self, memory: &Memory, id: &str, action: MachineAction) {
        let now = self.pipeline.clock.now();
        let done = action.is_done();
        if done {
            memory.close(id);
        }
        let mut table = self.table();
        if let Some(entry) = table.entries.get_mut(id) {
            entry.pending_since = (action.status == "Pending").then(|| entry.pending_since.unwrap_or(now));
            entry.looks.send_modify(|look| look.action = Some(action));
            if done {
                table.entries.remove(id);
            }
        }
    }

    fn fail_all(&self, error: &Error) {
        for (id, entry) in self.table().entries.drain() {
            let error = error.clone().with_action(id);
            entry.looks.send_modify(|look| look.failed = Some(error));
        }
    }
}

pub fn ids_filter(ids: &[String]) -> String {
    format!("id in ({})", ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(","))
}
