//! The turn of an intent: one at a time, in whatever process, submits it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Quota;
use super::queue::AdmissionQueue;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::Command;
use crate::state::store::{DeferredWrite, IntentKey, IntentLookup, Store};

/// Seconds after which the turn of a dead process falls free.
const LEASE: f64 = 15.0;
const HEARTBEAT: f64 = 5.0;
/// Seconds between two looks at a turn that another process has, at the most.
const LEASE_POLL_INTERVAL: f64 = 1.0;

/// Held by the one who submits. Whoever comes later with the same id waits, then adopts.
pub struct IntentLease {
    store: Arc<dyn Store>,
    pub key: IntentKey,
    token: u64,
    released: Arc<Notify>,
    queue: Arc<AdmissionQueue>,
    heartbeat: Option<AbortHandle>,
    /// What is known of the intent: nobody else changes it while the turn is held.
    posted: AtomicBool,
}

/// An intent, and the turn; no turn where the intent was made with other commands.
pub struct BegunIntent {
    pub found: IntentLookup,
    pub intent_lease: Option<IntentLease>,
}

impl Quota {
    /// Notes what is intended, durably, and waits for the turn. What it returns was read with the turn held.
    pub async fn begin_intent(
        &self,
        key: &IntentKey,
        commands: &[Command],
        comment: &str,
    ) -> Result<BegunIntent> {
        let mut intent_lease = IntentLease {
            store: self.store.clone(),
            key: key.clone(),
            token: fastrand::u64(..),
            released: self.lease_released.clone(),
            queue: self.submit_queue.clone(),
            heartbeat: None,
            posted: AtomicBool::new(false),
        };
        // In memory an end is told; only a lease runs out in silence.
        let (mut pause, longest) =
            if self.store.is_shared() { (0.05, LEASE_POLL_INTERVAL) } else { (LEASE, LEASE) };
        loop {
            let released = self.lease_released.notified();
            let mut found = self
                .store
                .get_or_create_intent(key.clone(), commands.to_vec(), comment.to_owned())
                .await?;
            if found.intent.commands != commands {
                return Ok(BegunIntent { found, intent_lease: None });
            }
            if self.store.acquire_lease(key.clone(), intent_lease.token, LEASE).await? {
                intent_lease.keep_alive(self.clock);
                if found.known
                    && let Some(intent) = self.store.get_intent(key.clone()).await?
                {
                    found.intent = intent;
                }
                intent_lease.posted.store(found.intent.posted, Ordering::SeqCst);
                return Ok(BegunIntent { found, intent_lease: Some(intent_lease) });
            }
            tokio::select! {
                () = released => {}
                () = self.clock.sleep(pause * (0.75 + fastrand::f64() / 2.0)) => {}
            }
            pause = (pause * 2.0).min(longest);
        }
    }
}

impl IntentLease {
    /// A POST is about to leave, or did not arrive. Fails if another process has the turn by now.
    pub async fn record_posted(&self, posted: bool) -> Result<()> {
        self.store.record_posted(self.key.clone(), self.token, posted).await?;
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
                if let Err(error) = store.acquire_lease(key.clone(), token, LEASE).await {
                    log::debug!(target: crate::trace::LOG_TARGET, "{error}");
                }
            }
        });
        self.heartbeat = Some(beating.abort_handle());
    }
}

impl Drop for IntentLease {
    fn drop(&mut self) {
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.abort();
        }
        self.store.defer(DeferredWrite::ReleaseLease(self.key.clone(), self.token));
        // What it forgot may have held a slot.
        self.queue.wake();
        self.released.notify_waiters();
    }
}
