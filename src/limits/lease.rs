//! The lease of an intent: only its holder submits, so that the same submit is never sent twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Quota;
use super::queue::AdmissionQueue;
use crate::clock::Clock;
use crate::error::Result;
use crate::model::Command;
use crate::state::intents::{IntentKey, IntentLookup};
use crate::state::store::{DeferredWrite, Store};

/// Seconds after which the lease of a dead process ends.
const LEASE: f64 = 15.0;
/// Seconds between renewals: two may fail before the lease ends.
const HEARTBEAT: f64 = 5.0;
/// The maximum seconds between two attempts to take a lease that another process holds.
const LEASE_POLL_INTERVAL: f64 = 1.0;

/// The lease of the caller that submits. A later caller with the same id waits for it, and then
/// adopts the action that was started. Dropping it ends the lease.
pub struct IntentLease {
    store: Arc<dyn Store>,
    pub key: IntentKey,
    token: u64,
    released: Arc<Notify>,
    queue: Arc<AdmissionQueue>,
    heartbeat: Option<AbortHandle>,
    /// A copy of the intent's field. No other process changes it while the lease is held.
    posted: AtomicBool,
}

/// An intent and its lease. There is no lease if the intent was created with other commands.
pub struct BegunIntent {
    pub found: IntentLookup,
    pub intent_lease: Option<IntentLease>,
}

impl Quota {
    /// Stores the intent durably and waits for its lease. The intent that it returns was read while
    /// the lease was held.
    pub async fn begin_intent(
        &self,
        key: &IntentKey,
        commands: &[Command],
        comment: &str,
    ) -> Result<BegunIntent> {
        let mut intent_lease = IntentLease {
            store: self.store.clone(),
            key: key.clone(),
            // The token is random, because the lease is compared across processes.
            token: fastrand::u64(..),
            released: self.lease_released.clone(),
            queue: self.submit_queue.clone(),
            heartbeat: None,
            posted: AtomicBool::new(false),
        };
        // In memory, the end of a lease wakes the waiters, so polling is only needed for expiry.
        let (mut pause, longest) =
            if self.store.is_shared() { (0.05, LEASE_POLL_INTERVAL) } else { (LEASE, LEASE) };
        loop {
            // Created before the attempt, so that a release in between is not missed.
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
                // The previous holder may have changed it between the lookup and the lease.
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
    /// Records that a POST is about to be sent, or that none arrived.
    ///
    /// Fails if another process has taken the lease. Then nothing may be sent.
    pub async fn record_posted(&self, posted: bool) -> Result<()> {
        self.store.record_posted(self.key.clone(), self.token, posted).await?;
        self.posted.store(posted, Ordering::SeqCst);
        Ok(())
    }

    /// Returns whether a POST may have reached the service, from any process.
    pub fn is_posted(&self) -> bool {
        self.posted.load(Ordering::SeqCst)
    }

    /// Renews the lease in the background.
    fn keep_alive(&mut self, clock: Clock) {
        let (store, key, token) = (self.store.clone(), self.key.clone(), self.token);
        let heartbeat = tokio::spawn(async move {
            loop {
                clock.sleep(HEARTBEAT).await;
                if let Err(error) = store.acquire_lease(key.clone(), token, LEASE).await {
                    log::debug!(target: crate::trace::LOG_TARGET, "{error}");
                }
            }
        });
        self.heartbeat = Some(heartbeat.abort_handle());
    }
}

impl Drop for IntentLease {
    fn drop(&mut self) {
        // A renewal after the release would take the lease again.
        if let Some(heartbeat) = &self.heartbeat {
            heartbeat.abort();
        }
        self.store.defer(DeferredWrite::ReleaseLease(self.key.clone(), self.token));
        // If the intent is deleted, its slot is free now.
        self.queue.wake();
        self.released.notify_waiters();
    }
}
