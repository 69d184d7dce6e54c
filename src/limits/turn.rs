//! The turn of an intent: one at a time, in whatever process, submits it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Quota;
use super::line::Line;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::Command;
use crate::state::store::{Found, IntentKey, Later, Store};

/// Seconds after which the turn of a dead process falls free.
const LEASE: f64 = 15.0;
const HEARTBEAT: f64 = 5.0;
/// Seconds between two looks at a turn that another process has, at the most.
const LOOK: f64 = 1.0;

/// Held by the one who submits. Whoever comes later with the same id waits, then adopts.
pub struct Turn {
    store: Arc<dyn Store>,
    pub key: IntentKey,
    token: u64,
    left: Arc<Notify>,
    line: Arc<Line>,
    heartbeat: Option<AbortHandle>,
    /// What is known of the intent: nobody else changes it while the turn is held.
    posted: AtomicBool,
}

/// An intent, and the turn; no turn where the intent was made with other commands.
pub struct Begun {
    pub found: Found,
    pub turn: Option<Turn>,
}

impl Quota {
    /// Notes what is intended, durably, and waits for the turn. What it returns was read with the turn held.
    pub async fn begin(&self, key: &IntentKey, commands: &[Command], comment: &str) -> Result<Begun> {
        let mut turn = Turn {
            store: self.store.clone(),
            key: key.clone(),
            token: fastrand::u64(..),
            left: self.turn_left.clone(),
            line: self.submits.clone(),
            heartbeat: None,
            posted: AtomicBool::new(false),
        };
        // In memory an end is told; only a lease runs out in silence.
        let (mut pause, longest) = if self.store.is_shared() { (0.05, LOOK) } else { (LEASE, LEASE) };
        loop {
            let left = self.turn_left.notified();
            let mut found = self.store.intent(key.clone(), commands.to_vec(), comment.to_owned()).await?;
            if found.intent.commands != commands {
                return Ok(Begun { found, turn: None });
            }
            if self.store.take_turn(key.clone(), turn.token, LEASE).await? {
                turn.keep_alive(self.clock);
                if found.known
                    && let Some(intent) = self.store.known_intent(key.clone()).await?
                {
                    found.intent = intent;
                }
                turn.posted.store(found.intent.posted, Ordering::SeqCst);
                return Ok(Begun { found, turn: Some(turn) });
            }
            tokio::select! {
                () = left => {}
                () = self.clock.sleep(pause * (0.75 + fastrand::f64() / 2.0)) => {}
            }
            pause = (pause * 2.0).min(longest);
        }
    }
}

impl Turn {
    /// A POST is about to leave, or did not arrive. Fails if another process has the turn by now.
    pub async fn posted(&self, posted: bool) -> Result<()> {
        self.store.posted(self.key.clone(), self.token, posted).await?;
        self.posted.store(posted, Ordering::SeqCst);
        Ok(())
    }

    /// A POST may have reached the service, by whichever process.
    pub fn is_posted(&self) -> bool {
        self.posted.load(Ordering::SeqCst)
    }

    fn keep_alive(&mut self, clock: Clock) {
        let (store, key, token) = (self.store.clone(), self.key.clone(), self.token);
        let beating = tokio::spawn(async move {
            loop {
                clock.sleep(HEARTBEAT).await;
                if let Err(error) = store.take_turn(key.clone(), token, LEASE).await {
                    log::debug!(target: crate::trace::LOG, "{error}");
                }
            }
        });
        self.heartbeat = Some(beating.abort_handle());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.abort();
        }
        self.store.later(Later::LeaveTurn(self.key.clone(), self.token));
        // What it forgot may have held a slot.
        self.line.wake();
        self.left.notify_waiters();
    }
}
