//! The guards of the poller's watchers: of one action, or of all open sessions.

use std::sync::Arc;

use tokio::sync::watch;

use super::{ActionUpdate, Poller};

/// Watches one action until it is dropped.
pub struct Subscription {
    /// None only while the guard is being dropped.
    updates: Option<watch::Receiver<ActionUpdate>>,
    poller: Arc<Poller>,
}

/// While it lives, every session that holds a slot is polled, even if no caller waits for it.
pub struct SlotWatch(Arc<Poller>);

impl Subscription {
    pub(super) fn new(poller: &Arc<Poller>, updates: watch::Receiver<ActionUpdate>) -> Self {
        Self { updates: Some(updates), poller: poller.clone() }
    }

    /// Waits for the next update. Returns it, and whether there will be more.
    pub async fn next(&mut self) -> (ActionUpdate, bool) {
        let Some(updates) = &mut self.updates else { return (ActionUpdate::default(), false) };
        let more = updates.changed().await.is_ok();
        (updates.borrow_and_update().clone(), more)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // The receiver goes first: the poller counts the receivers when it is notified.
        self.updates = None;
        self.poller.watcher_dropped.notify_one();
    }
}

impl SlotWatch {
    pub(super) fn new(poller: &Arc<Poller>) -> Self {
        poller.table().slot_watches += 1;
        Self(poller.clone())
    }
}

impl Drop for SlotWatch {
    fn drop(&mut self) {
        self.0.table().slot_watches -= 1;
        self.0.watcher_dropped.notify_one();
    }
}
