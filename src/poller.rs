//! Polls the open sessions of a client: one list call for all, as often as the read limits allow.

mod poll;
mod schedule;
mod status_cache;
mod subscription;
mod table;
mod targets;
mod token_bucket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::error::Error;
use crate::model::MachineAction;
use crate::pipeline::Pipeline;
use crate::trace;
use schedule::Pace;
pub use status_cache::cached_action;
pub use subscription::{SlotWatch, Subscription};
use table::{WatchTable, gives_up};

/// The last known state of an action.
#[derive(Clone, Debug, Default)]
pub struct ActionUpdate {
    pub action: Option<MachineAction>,
    /// Why the action is not polled any more.
    pub failed: Option<Error>,
}

pub struct Poller {
    pipeline: Arc<Pipeline>,
    pace: Pace,
    table: Mutex<WatchTable>,
    woken: Notify,
    watcher_dropped: Notify,
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

    /// Watches an action until it ends. The time of the first poll is computed from
    /// `last_update_at`, the time at which the caller last read the action.
    pub fn subscribe(
        self: &Arc<Self>,
        action_id: &str,
        last_update_at: Option<f64>,
    ) -> Subscription {
        let now = self.pipeline.clock.now();
        let mut table = self.table();
        let receiver = table.watch(action_id, last_update_at, now);
        self.wake_or_spawn(table);
        Subscription::new(self, receiver)
    }

    /// Polls all open sessions for as long as the returned guard lives.
    pub fn watch_slots(self: &Arc<Self>) -> SlotWatch {
        let slot_watch = SlotWatch::new(self);
        self.wake_or_spawn(self.table());
        slot_watch
    }

    /// Returns the seconds from one poll of a session to the next, if no caller waits in between.
    /// `age` is how long the session existed at the first of them.
    pub fn next_separate_poll_in(&self, age: f64) -> f64 {
        self.pace.separate_interval(age)
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

    /// Waits until no caller watches any action.
    async fn wait_until_unwatched(&self) {
        while self.table().has_watchers() {
            self.watcher_dropped.notified().await;
        }
    }
}

/// The poller's only task. It runs while there are watchers.
struct PollTask {
    poller: Arc<Poller>,
    /// The task ended because no caller watches. Another task may be running already.
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
            let trace = poller.table().any_trace();
            // When the last watcher is dropped, the poll and its request are dropped too.
            let polled = tokio::select! {
                polled = trace::with_trace(trace, poller.poll_once()) => polled,
                () = poller.wait_until_unwatched() => continue,
            };
            match polled {
                Ok(()) => failing_since = None,
                Err(error) => {
                    let now = clock.now();
                    let since = *failing_since.get_or_insert(now);
                    let settle_time = poller.pipeline.options.limits.settle_time;
                    if gives_up(error.retryable, since, now, settle_time) {
                        poller.table().fail_all(&error);
                    }
                }
            }
        }
        self.ended = true;
    }
}

impl Drop for PollTask {
    /// Closes every subscription if the task was stopped, so that its watchers start another one.
    fn drop(&mut self) {
        if !self.ended {
            let mut table = self.poller.table();
            table.running = false;
            table.watched.clear();
        }
    }
}
