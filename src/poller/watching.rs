//! Whoever waits for a look: for one action, or for any of our sessions to end.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Look, Poller};

/// Follows one action until it is dropped.
pub struct Watching {
    /// None while it is dropped.
    looks: Option<watch::Receiver<Look>>,
    poller: Arc<Poller>,
}

/// While it lives, every session that holds a slot is looked at, though nobody waits for that one.
pub struct Attending(Arc<Poller>);

impl Watching {
    pub(super) fn new(poller: &Arc<Poller>, looks: watch::Receiver<Look>) -> Self {
        Self { looks: Some(looks), poller: poller.clone() }
    }

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

impl Attending {
    pub(super) fn new(poller: &Arc<Poller>) -> Self {
        poller.table().attending += 1;
        Self(poller.clone())
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.0.table().attending -= 1;
        self.0.left.notify_one();
    }
}
