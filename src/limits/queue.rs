//! The queue of one window in this process. One task asks the store for all waiters.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::AdmissionError;
use crate::clock::Clock;
use crate::error::Error;
use crate::operation::Operation;
use crate::state::admission::{AdmissionRequest, QueueEntry, SlotRequest, Ticket};
use crate::state::store::Store;

/// The waiters of one window in this process.
pub struct AdmissionQueue {
    pub store: Arc<dyn Store>,
    pub(super) clock: Clock,
    window: Operation,
    owner: u64,
    call_lease: f64,
    state: Mutex<QueueState>,
    pub(super) wake_signal: Notify,
}

#[derive(Default)]
pub(super) struct QueueState {
    /// Waiters by ticket number, which is the order of arrival.
    pub(super) waiting: BTreeMap<u64, Waiter>,
    /// Tickets to return to the store with the next request.
    pub(super) leaving: Vec<Ticket>,
    arrivals: u64,
    pub(super) task_running: bool,
    /// When there may be room, as of the last answer.
    pub(super) room_at: f64,
}

pub(super) struct Waiter {
    pub(super) slot_request: Option<SlotRequest>,
    /// The store has its ticket.
    pub(super) joined: bool,
    pub(super) sender: oneshot::Sender<Result<GrantedTicket, AdmissionError>>,
}

/// A granted ticket that is not used yet. Dropping it returns the ticket to the store.
pub struct GrantedTicket {
    pub(super) queue: Arc<AdmissionQueue>,
    pub(super) ticket: Option<Ticket>,
}

impl GrantedTicket {
    /// Returns the ticket, whose call now counts.
    pub fn into_ticket(mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}

impl Drop for GrantedTicket {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.queue.state().leaving.push(ticket);
            self.queue.start_task();
        }
    }
}

impl AdmissionQueue {
    pub fn new(
        store: Arc<dyn Store>,
        clock: Clock,
        window: Operation,
        owner: u64,
        call_lease: f64,
    ) -> Self {
        Self {
            store,
            clock,
            window,
            owner,
            call_lease,
            state: Mutex::default(),
            wake_signal: Notify::new(),
        }
    }

    /// Waits until the store grants the call. A dropped future leaves the queue.
    pub async fn enter(
        self: &Arc<Self>,
        slot_request: Option<SlotRequest>,
    ) -> Result<GrantedTicket, AdmissionError> {
        let (sender, receiver) = oneshot::channel();
        let number = {
            let mut state = self.state();
            let number = state.arrivals;
            state.arrivals += 1;
            let mut waiter = Waiter { slot_request, joined: false, sender };
            // Only if nobody waits: a new caller must not overtake the others.
            if state.is_idle()
                && let Some(answer) = self.try_admit_now(number, &mut waiter)
            {
                return answer;
            }
            state.waiting.insert(number, waiter);
            number
        };
        let _leave = LeaveGuard { queue: self, number };
        self.start_task();
        // The sender is dropped without an answer only if the runtime stops the task.
        receiver.await.unwrap_or_else(|_| {
            let message = "the call was not admitted: the process is exiting";
            Err(AdmissionError::Failed(Error::new(crate::error::Kind::State, message)))
        })
    }

    /// Returns the seconds until there may be room for the first waiter, as of the last answer.
    pub fn expected_wait(&self) -> f64 {
        (self.state().room_at - self.clock.now()).max(0.0)
    }

    /// Makes the task ask again, because something changed.
    pub fn wake(&self) {
        self.wake_signal.notify_one();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ticket(&self, number: u64) -> Ticket {
        Ticket { owner: self.owner, number }
    }

    /// Asks the store without waiting. Returns `None` if the store is outside this process, or if
    /// the caller must wait.
    fn try_admit_now(
        self: &Arc<Self>,
        number: u64,
        waiter: &mut Waiter,
    ) -> Option<Result<GrantedTicket, AdmissionError>> {
        let ticket = self.ticket(number);
        let join = vec![QueueEntry { ticket, slot_request: waiter.slot_request.clone() }];
        let answer = self.store.try_admit_now(&self.build_request(join, Vec::new(), false))?;
        if let Some((_, action_id)) = answer.occupied.into_iter().next() {
            return Some(Err(AdmissionError::MachineBusy(action_id)));
        }
        if answer.granted.is_empty() {
            waiter.joined = true;
            return None;
        }
        Some(Ok(GrantedTicket { queue: self.clone(), ticket: Some(ticket) }))
    }

    pub(super) fn build_request(
        &self,
        join: Vec<QueueEntry>,
        leave: Vec<Ticket>,
        is_retry: bool,
    ) -> AdmissionRequest {
        AdmissionRequest {
            window: self.window,
            owner: self.owner,
            call_lease: self.call_lease,
            join,
            is_retry,
            leave,
        }
    }
}

impl QueueState {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.leaving.is_empty() && !self.task_running
    }
}

/// Removes the waiter from the queue when dropped, so that a cancelled caller blocks no other.
struct LeaveGuard<'a> {
    queue: &'a Arc<AdmissionQueue>,
    number: u64,
}

impl Drop for LeaveGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if state.waiting.remove(&self.number).is_some() {
            state.leaving.push(self.queue.ticket(self.number));
            // `start_task` locks the state again.
            drop(state);
            self.queue.start_task();
        }
    }
}
