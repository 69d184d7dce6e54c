//! What the clients of one quota key in this process share: the queues, asked of the store, and what they let through.

mod lease;
mod queue;
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
    DeferredWrite, OpenSession, Slot, SlotRequest, Store, Ticket, WindowUsage,
};

/// Seconds.
const FLUSH_TIMEOUT: f64 = 2.0;

pub struct Quota {
    store: Arc<dyn Store>,
    clock: Clock,
    queues: HashMap<Operation, Arc<AdmissionQueue>>,
    submit_queue: Arc<AdmissionQueue>,
    lease_released: Arc<Notify>,
    freed: Arc<Notify>,
}

/// The right to one call. The call ends when it is dropped.
pub struct CallPermit {
    store: Arc<dyn Store>,
    window: Operation,
    ticket: Ticket,
}

/// A session slot and the machine's lease. Dropped, both are free; kept, they are the intent's.
pub struct SlotGuard {
    queue: Arc<AdmissionQueue>,
    freed: Arc<Notify>,
    held: Option<(String, Ticket)>,
}

/// The right to submit to one machine: a call in the window, and a slot.
pub struct Admission {
    pub permit: CallPermit,
    pub slot: SlotGuard,
}

/// Why nobody goes.
#[derive(Clone, Debug)]
pub enum AdmissionError {
    /// One of our own sessions is on the machine.
    MachineBusy(Option<String>),
    /// The store lost what it knew: list the open sessions, tell them to [`Quota::record_open_sessions`], and ask again.
    SessionsUnknown,
    /// The store is out of reach, or not fit.
    Failed(Error),
}

impl Quota {
    /// `call_lease` seconds after its start a call is over, or its process is dead.
    pub fn new(store: Arc<dyn Store>, clock: Clock, call_lease: f64) -> Self {
        // Each queue counts its own tickets.
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
            freed: Arc::default(),
            store,
        }
    }

    /// Intents, sessions and looks are asked of the store itself.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn queue(&self, window: Operation) -> &Arc<AdmissionQueue> {
        match window {
            Operation::RunLiveResponse => &self.submit_queue,
            _ => self.queues.get(&window).unwrap_or(&self.submit_queue),
        }
    }

    /// Waits for its turn and for room in an endpoint's window. Leaving the wait leaves the queue.
    pub async fn admit_call(&self, window: Operation) -> Result<CallPermit> {
        let granted = self.queue(window).enter(None).await.map_err(AdmissionError::into_error)?;
        let ticket = granted.into_ticket().unwrap_or(Ticket { owner: 0, number: 0 });
        Ok(CallPermit { store: self.store.clone(), window, ticket })
    }

    /// Stands in queue for a slot, the machine and the submit window, as one.
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
                freed: self.freed.clone(),
                held: Some((machine_id, ticket)),
            },
        })
    }

    /// Seconds until there may be room, as the queue was last told.
    pub fn expected_wait(&self, window: Operation) -> f64 {
        self.queue(window).expected_wait()
    }

    pub async fn window_usage(&self, window: Operation) -> Result<WindowUsage> {
        self.store.window_usage(window).await
    }

    /// Holds every waiting call back for `seconds`: the service said so.
    pub async fn block_window(&self, window: Operation, seconds: f64) -> Result<()> {
        self.store.block_window(window, seconds).await
    }

    /// The action is over: its slot and its machine are free.
    pub async fn close_session(&self, action_id: &str) -> Result<()> {
        if self.store.close_session(action_id).await? {
            self.wake();
        }
        Ok(())
    }

    /// What holds the machine, as far as the store knows.
    pub async fn slot_on_machine(&self, machine_id: &str) -> Result<Option<Slot>> {
        Ok(self.store.slots().await?.into_iter().find(|slot| slot.machine_id == machine_id))
    }

    /// There is no action after all where one has been in doubt for `seconds`.
    pub async fn release_in_doubt_slot(&self, machine_id: &str, seconds: f64) -> Result<()> {
        if self.store.release_in_doubt_slot(machine_id.to_owned(), seconds).await? {
            self.wake();
        }
        Ok(())
    }

    /// Waits until fewer slots are taken than now.
    pub async fn wait_for_free_slot(&self) -> Result<()> {
        let before = self.store.slots().await?.len();
        let poll_interval = if self.store.is_shared() { 1.0 } else { f64::INFINITY };
        loop {
            let freed = self.freed.notified();
            if self.store.slots().await?.len() < before {
                return Ok(());
            }
            tokio::select! { () = freed => {}, () = self.clock.sleep(poll_interval) => {} }
        }
    }

    /// Sessions that the service shows as open. What it does not know of, the store counts from now on.
    pub async fn record_open_sessions(&self, sessions: Vec<OpenSession>) -> Result<()> {
        self.store.record_open_sessions(sessions).await?;
        self.wake();
        Ok(())
    }

    /// Returns when what was left for later is done; soon, also where the store is out of reach.
    pub async fn flush(&self) {
        let timeout = crate::clock::seconds_to_duration(FLUSH_TIMEOUT);
        let flushed = tokio::time::timeout(timeout, self.store.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            log::debug!(target: crate::trace::LOG_TARGET, "the state store could not be told all: leases will tell it");
        }
    }

    /// Something freed a slot by way of the store.
    pub fn wake(&self) {
        self.submit_queue.wake();
        self.freed.notify_waiters();
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        self.store.defer(DeferredWrite::EndCall(self.window, self.ticket));
    }
}

impl SlotGuard {
    /// The slot is the intent's: an action holds it, or nobody knows whether one does. It is freed by `record_action`,
    /// `delete_unsent_intent`, `close_session`, or its lease.
    pub fn disarm(mut self) {
        self.held = None;
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some((machine_id, ticket)) = self.held.take() {
            self.queue.store.defer(DeferredWrite::ReleaseSlot(machine_id, ticket));
            self.queue.wake();
            self.freed.notify_waiters();
        }
    }
}

impl AdmissionError {
    pub fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::MachineBusy(action_id) => {
                let mut error = Error::new(
                    crate::error::Kind::MachineBusy,
                    "a session of ours is on the machine",
                );
                error.active_action_id = action_id;
                error
            }
            Self::SessionsUnknown => {
                let message = "the state store lost what it knew of open sessions";
                let mut error = Error::new(crate::error::Kind::State, message);
                error.retryable = true;
                error
            }
        }
    }
}
