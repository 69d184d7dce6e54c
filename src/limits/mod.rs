//! Admission control for one quota key: the clients of this process share its queues and permits.
//!
//! The store decides; this module queues the callers and frees what they drop.

mod lease;
mod queue;
mod queue_task;
mod registry;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

pub use lease::{BegunIntent, IntentLease};
pub use registry::QuotaRegistry;

use self::queue::AdmissionQueue;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::state::store::{
    DeferredWrite, ListedActions, OpenSession, SessionSlot, SlotRequest, Store, Ticket, WindowUsage,
};

/// Seconds to wait for deferred writes when a client closes.
const FLUSH_TIMEOUT: f64 = 2.0;

/// The admission control of one quota key.
pub struct Quota {
    store: Arc<dyn Store>,
    clock: Clock,
    queues: HashMap<Operation, Arc<AdmissionQueue>>,
    submit_queue: Arc<AdmissionQueue>,
    lease_released: Arc<Notify>,
    slot_freed: Arc<Notify>,
    checking: tokio::sync::Mutex<()>,
}

/// The permission for one call. Dropping it ends the call.
pub struct CallPermit {
    store: Arc<dyn Store>,
    window: Operation,
    ticket: Ticket,
}

/// Holds a session slot and its machine. Dropping it frees both, unless it is disarmed.
pub struct SlotGuard {
    queue: Arc<AdmissionQueue>,
    slot_freed: Arc<Notify>,
    held: Option<(String, Ticket)>,
}

/// The permission to submit to one machine: a call in the window, and a slot.
pub struct Admission {
    pub permit: CallPermit,
    pub slot: SlotGuard,
}

/// Why a call was not admitted.
#[derive(Clone, Debug)]
pub enum AdmissionError {
    /// One of our own sessions is on the machine.
    MachineBusy(Option<String>),
    /// The store may have lost its data. Read the service's list, pass it to
    /// [`Quota::record_check`], and try again.
    SessionsUnknown,
    /// The store is unavailable or unusable.
    Failed(Error),
}

impl Quota {
    /// `call_lease`: seconds after its start at which a call has ended, or its process is dead.
    pub fn new(store: Arc<dyn Store>, clock: Clock, call_lease: f64) -> Self {
        // Every queue has its own owner id, because each numbers its tickets from 0.
        let queue = |window| {
            Arc::new(AdmissionQueue::new(
                store.clone(),
                clock,
                window,
                fastrand::u64(..),
                call_lease,
            ))
        };
        let queues = Operation::ALL.into_iter().map(|window| (window, queue(window))).collect();
        let submit_queue = queue(Operation::RunLiveResponse);
        Self {
            clock,
            queues,
            submit_queue,
            lease_released: Arc::default(),
            slot_freed: Arc::default(),
            checking: tokio::sync::Mutex::default(),
            store,
        }
    }

    /// Returns the store, for intents, slots and cached statuses.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Returns the queue of the window.
    fn queue(&self, window: Operation) -> &Arc<AdmissionQueue> {
        match window {
            Operation::RunLiveResponse => &self.submit_queue,
            _ => self.queues.get(&window).unwrap_or(&self.submit_queue),
        }
    }

    /// Waits in the queue until there is room in the window. Dropping the future leaves the queue.
    pub async fn admit_call(&self, window: Operation) -> Result<CallPermit> {
        let granted = self.queue(window).enter(None).await.map_err(AdmissionError::into_error)?;
        let ticket = granted.into_ticket().unwrap_or(Ticket { owner: 0, number: 0 });
        Ok(CallPermit { store: self.store.clone(), window, ticket })
    }

    /// Waits in the queue for a slot, the machine and room in the submit window, all at once.
    pub async fn admit_submit(
        &self,
        slot_request: SlotRequest,
    ) -> Result<Admission, AdmissionError> {
        let machine_id = slot_request.machine_id.clone();
        let granted = self.submit_queue.enter(Some(slot_request)).await?;
        let ticket = granted.into_ticket().unwrap_or(Ticket { owner: 0, number: 0 });
        let permit =
            CallPermit { store: self.store.clone(), window: Operation::RunLiveResponse, ticket };
        Ok(Admission {
            permit,
            slot: SlotGuard {
                queue: self.submit_queue.clone(),
                slot_freed: self.slot_freed.clone(),
                held: Some((machine_id, ticket)),
            },
        })
    }

    /// Returns the seconds until there may be room, as of the last answer of the store.
    pub fn expected_wait(&self, window: Operation) -> f64 {
        self.queue(window).expected_wait()
    }

    /// Returns how full the window is.
    pub async fn window_usage(&self, window: Operation) -> Result<WindowUsage> {
        self.store.window_usage(window).await
    }

    /// Blocks the window for `seconds`, because the service asked for it.
    pub async fn block_window(&self, window: Operation, seconds: f64) -> Result<()> {
        self.store.block_window(window, seconds).await
    }

    /// Frees the slot and the machine of an action that has ended.
    pub async fn close_session(&self, action_id: &str) -> Result<()> {
        if self.store.close_session(action_id).await? {
            self.wake();
        }
        Ok(())
    }

    /// Returns the slot on the machine, if the store knows one.
    pub async fn slot_on_machine(&self, machine_id: &str) -> Result<Option<SessionSlot>> {
        Ok(self.store.slots().await?.into_iter().find(|slot| slot.machine_id == machine_id))
    }

    /// Frees the slot on the machine if its POST has been in doubt for `seconds`, after a lookup
    /// found no action.
    pub async fn release_in_doubt_slot(&self, machine_id: &str, seconds: f64) -> Result<()> {
        if self.store.release_in_doubt_slot(machine_id.to_owned(), seconds).await? {
            self.wake();
        }
        Ok(())
    }

    /// Waits until fewer slots are taken than now.
    pub async fn wait_for_free_slot(&self) -> Result<()> {
        let before = self.store.slots().await?.len();
        // Another process frees its slots without waking this one.
        let poll_interval = if self.store.is_shared() { 1.0 } else { f64::INFINITY };
        loop {
            // Created before the slots are read, so that no wake-up in between is missed.
            let freed = self.slot_freed.notified();
            if self.store.slots().await?.len() < before {
                return Ok(());
            }
            tokio::select! { () = freed => {}, () = self.clock.sleep(poll_interval) => {} }
        }
    }

    /// Records sessions that the service lists as open. From now on they hold slots.
    pub async fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> Result<()> {
        self.store.record_open_sessions(sessions).await?;
        self.wake();
        Ok(())
    }

    /// Waits while another caller of this process holds the store against the service's list.
    pub async fn begin_check(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.checking.lock().await
    }

    /// Records what the service's list shows. From then on the store is trusted.
    pub async fn record_check(&self, listed: ListedActions) -> Result<()> {
        self.store.record_check(listed).await?;
        self.wake();
        Ok(())
    }

    /// Waits until the deferred writes are done, but only briefly if the store is unavailable.
    pub async fn flush(&self) {
        let timeout = crate::clock::seconds_to_duration(FLUSH_TIMEOUT);
        // A client that closes must not hang because its store is down.
        let flushed = tokio::time::timeout(timeout, self.store.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            log::debug!(
                target: crate::trace::LOG_TARGET,
                "not all writes reached the state store in time; the leases make up for them"
            );
        }
    }

    /// Wakes the waiters after a slot was freed in the store.
    pub fn wake(&self) {
        self.submit_queue.wake();
        self.slot_freed.notify_waiters();
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.store.defer(DeferredWrite::EndCall(self.window, self.ticket));
    }
}

impl SlotGuard {
    /// Leaves the slot to the intent, because its action holds it or may hold it.
    ///
    /// From then on `record_action`, `delete_unsent_intent`, `close_session` or the lease frees it.
    pub fn disarm(mut self) {
        self.held = None;
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some((machine_id, ticket)) = self.held.take() {
            self.queue.store.defer(DeferredWrite::ReleaseSlot(machine_id, ticket));
            self.queue.wake();
            self.slot_freed.notify_waiters();
        }
    }
}

impl AdmissionError {
    /// Converts it into the error of the call.
    pub fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::MachineBusy(action_id) => {
                let mut error = Error::new(
                    crate::error::Kind::MachineBusy,
                    "one of our own sessions is on the machine",
                );
                error.active_action_id = action_id;
                error
            }
            Self::SessionsUnknown => {
                let message = "the state store lost its record of open sessions";
                let mut error = Error::new(crate::error::Kind::State, message);
                error.retryable = true;
                error
            }
        }
    }
}
