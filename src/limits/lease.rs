//! The lease of an intent: only its holder submits, so that the same submit is never sent twice.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Quota;
use super::queue::AdmissionQueue;
use crate::clock::{Clock, seconds_to_duration};
use crate::error::Result;
use crate::model::Command;
use crate::state::intents::{IntentKey, IntentLookup};
use crate::state::store::{DeferredWrite, Store};
use crate::transport::SendCheck;

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
    renewal: Arc<Renewal>,
    /// A copy of the intent's field. Nobody else changes it while the lease is held.
    posted: AtomicBool,
}

/// When the lease was renewed, shared with its heartbeat and with the check before a POST.
struct Renewal {
    /// By tokio's clock, which a test can pause, and by the system's, which runs on while a
    /// machine is suspended.
    at: Mutex<(Instant, SystemTime)>,
    /// Another process has the lease.
    lost: AtomicBool,
}

impl Renewal {
    fn new() -> Self {
        Self { at: Mutex::new(now()), lost: AtomicBool::new(false) }
    }

    /// Records a renewal that was requested at `requested`. A lost lease stays lost.
    fn record(&self, renewed: bool, requested: (Instant, SystemTime)) {
        if renewed {
            *self.at.lock().unwrap_or_else(PoisonError::into_inner) = requested;
        } else {
            self.lost.store(true, Ordering::SeqCst);
        }
    }

    fn is_valid(&self) -> bool {
        let (at, wall) = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = seconds_to_duration(LEASE);
        // A system clock that was set back says nothing.
        let elapsed = wall.elapsed().unwrap_or_default();
        !self.lost.load(Ordering::SeqCst) && at.elapsed() < lease && elapsed < lease
    }
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
            renewal: Arc::new(Renewal::new()),
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
            if intent_lease.acquire().await? {
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
        if let Err(error) = self.store.record_posted(self.key.clone(), self.token, posted).await {
            // Only the store can say whether another process has taken the lease.
            let _ = self.renew().await;
            return Err(error);
        }
        self.posted.store(posted, Ordering::SeqCst);
        Ok(())
    }

    /// Returns whether a POST may have reached the service, from any process.
    pub fn is_posted(&self) -> bool {
        self.posted.load(Ordering::SeqCst)
    }

    /// Returns whether another process has taken the lease, because this one was stopped.
    pub fn is_lost(&self) -> bool {
        self.renewal.lost.load(Ordering::SeqCst)
    }

    /// Returns a check for the moment before a POST is sent: the lease has not expired.
    ///
    /// A process that was stopped, or a machine that was suspended, must not send what it was about
    /// to send: another process may have submitted meanwhile. The check asks clocks only, so what
    /// remains between it and the first byte of the POST is microseconds.
    pub fn send_check(&self) -> SendCheck {
        let (renewal, is_shared) = (self.renewal.clone(), self.store.is_shared());
        Arc::new(move || !is_shared || renewal.is_valid())
    }

    async fn acquire(&self) -> Result<bool> {
        let requested = now();
        let acquired = self.store.acquire_lease(self.key.clone(), self.token, LEASE).await?;
        if acquired {
            self.renewal.record(true, requested);
        }
        Ok(acquired)
    }

    async fn renew(&self) -> Result<bool> {
        renew(&self.store, &self.key, self.token, &self.renewal).await
    }

    /// Renews the lease in the background.
    fn keep_alive(&mut self, clock: Clock) {
        let (store, key, token) = (self.store.clone(), self.key.clone(), self.token);
        let renewal = self.renewal.clone();
        let heartbeat = tokio::spawn(async move {
            loop {
                clock.sleep(HEARTBEAT).await;
                match renew(&store, &key, token, &renewal).await {
                    Ok(true) => {}
                    // Another process has submitted, or will.
                    Ok(false) => break,
                    Err(error) => log::debug!(target: crate::trace::LOG_TARGET, "{error}"),
                }
            }
        });
        self.heartbeat = Some(heartbeat.abort_handle());
    }
}

/// Returns the time before a request to the store. The lease counts from when the store took the
/// request, which is not before.
fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

async fn renew(
    store: &Arc<dyn Store>,
    key: &IntentKey,
    token: u64,
    renewal: &Renewal,
) -> Result<bool> {
    let requested = now();
    let renewed = store.renew_lease(key.clone(), token, LEASE).await?;
    renewal.record(renewed, requested);
    Ok(renewed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_was_not_renewed_in_time_stops_a_post() {
        let renewal = Renewal::new();
        assert!(renewal.is_valid());
        tokio::time::advance(seconds_to_duration(LEASE)).await;
        assert!(!renewal.is_valid(), "the process was stopped");
        renewal.record(true, now());
        assert!(renewal.is_valid());
        let an_hour_ago = SystemTime::now() - seconds_to_duration(3600.0);
        renewal.record(true, (Instant::now(), an_hour_ago));
        assert!(!renewal.is_valid(), "the machine was suspended, and tokio's clock with it");
        renewal.record(false, now());
        assert!(!renewal.is_valid(), "another process has the lease");
        renewal.record(true, now());
        assert!(!renewal.is_valid(), "the answer to an earlier renewal came late");
    }
}
