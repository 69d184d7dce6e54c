//! Standing in queue for one window: all who wait in this process share one asker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::AdmissionError;
use crate::clock::Clock;
use crate::error::Error;
use crate::operation::Operation;
use crate::state::store::{
    AdmissionRequest, AdmissionResponse, QueueEntry, SlotRequest, Store, Ticket,
};

/// Seconds over which those who were told the same time to ask again are spread.
const JITTER: f64 = 0.01;
/// Seconds for which a store that fails is asked again.
const STORE_TIMEOUT: f64 = 10.0;

pub struct AdmissionQueue {
    pub store: Arc<dyn Store>,
    clock: Clock,
    window: Operation,
    owner: u64,
    call_lease: f64,
    state: Mutex<QueueState>,
    wake_signal: Notify,
}

#[derive(Default)]
struct QueueState {
    /// By arrival, which is also the number of the ticket.
    waiting: BTreeMap<u64, Waiter>,
    leaving: Vec<Ticket>,
    arrivals: u64,
    /// There is a task that asks.
    task_running: bool,
    room_at: f64,
}

struct Waiter {
    slot_request: Option<SlotRequest>,
    /// The store has its ticket.
    joined: bool,
    sender: oneshot::Sender<Result<GrantedTicket, AdmissionError>>,
}

/// The right to go, until it is taken up. Dropped before, the call never was.
pub struct GrantedTicket {
    queue: Arc<AdmissionQueue>,
    ticket: Option<Ticket>,
}

impl GrantedTicket {
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

    /// Waits for its turn and for room. Leaving the wait leaves the queue.
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
        receiver.await.unwrap_or_else(|_| {
            let message = "the queue was left, for its process is at its end";
            Err(AdmissionError::Failed(Error::new(crate::error::Kind::State, message)))
        })
    }

    /// Seconds until there may be room for the first in queue, as it was last told.
    pub fn expected_wait(&self) -> f64 {
        (self.state().room_at - self.clock.now()).max(0.0)
    }

    /// Something changed: whoever waits asks again.
    pub fn wake(&self) {
        self.wake_signal.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(&self, number: u64) -> Ticket {
        Ticket { owner: self.owner, number }
    }

    /// Where the store is in this process and nobody waits, the answer is there at once.
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

    fn build_request(
        &self,
        join: Vec<QueueEntry>,
        leave: Vec<Ticket>,
        again: bool,
    ) -> AdmissionRequest {
        AdmissionRequest {
            window: self.window,
            owner: self.owner,
            call_lease: self.call_lease,
            join,
            is_retry: again,
            leave,
        }
    }

    fn start_task(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if std::mem::replace(&mut self.state().task_running, true) {
            self.wake_signal.notify_one();
        } else {
            runtime.spawn(self.clone().run());
        }
    }

    async fn run(self: Arc<Self>) {
        let (mut again, mut failing_since, mut failures) = (false, None, 0_u32);
        while let Some((request, earlier)) = self.next_request(again) {
            let leave = request.leave.clone();
            let pause = match self.store.request_admission(request).await {
                Ok(answer) => {
                    failing_since = None;
                    let lost_places = answer.owner_unknown && earlier;
                    let pause = self.deliver(answer);
                    again = lost_places && self.mark_unjoined();
                    if again { 0.0 } else { pause }
                }
                Err(error) => {
                    again = true;
                    failures += 1;
                    let now = self.clock.now();
                    let bearable =
                        error.retryable && now - *failing_since.get_or_insert(now) < STORE_TIMEOUT;
                    self.state().leaving.extend(leave);
                    if !bearable {
                        return self.fail(&error);
                    }
                    self.mark_unjoined();
                    f64::from(failures.min(10)) * 0.1 * (0.5 + fastrand::f64())
                }
            };
            self.wait_to_retry(pause).await;
        }
    }

    async fn wait_to_retry(&self, pause: f64) {
        if pause == f64::INFINITY {
            return self.wake_signal.notified().await;
        }
        let jitter = if self.store.is_shared() { fastrand::f64() * JITTER } else { 0.0 };
        tokio::select! {
            () = self.clock.sleep(pause + jitter) => {}
            () = self.wake_signal.notified() => {}
        }
    }

    /// What there is to ask, and whether some joined before; nothing, and the task ends, when nobody waits or leaves.
    fn next_request(&self, again: bool) -> Option<(AdmissionRequest, bool)> {
        let mut state = self.state();
        if state.waiting.is_empty() && state.leaving.is_empty() {
            state.task_running = false;
            return None;
        }
        let leave = std::mem::take(&mut state.leaving);
        let earlier = state.waiting.values().any(|waiter| waiter.joined);
        let mut join = Vec::new();
        for (number, waiter) in state.waiting.iter_mut().filter(|(_, waiter)| !waiter.joined) {
            waiter.joined = true;
            join.push(QueueEntry {
                ticket: self.ticket(*number),
                slot_request: waiter.slot_request.clone(),
            });
        }
        Some((self.build_request(join, leave, again), earlier))
    }

    /// The store may not have the tickets that it was given. Tells whether there are any.
    fn mark_unjoined(&self) -> bool {
        let mut state = self.state();
        let mut any = false;
        for waiter in state.waiting.values_mut() {
            any |= waiter.joined;
            waiter.joined = false;
        }
        any
    }

    /// Tells each what became of it, and returns the seconds until asking again may help.
    fn deliver(self: &Arc<Self>, answer: AdmissionResponse) -> f64 {
        let mut outcomes = Vec::new();
        let mut abandoned = Vec::new();
        let mut state = self.state();
        for ticket in answer.granted {
            match state.waiting.remove(&ticket.number) {
                Some(waiter) => outcomes.push((waiter, Ok(ticket))),
                None => abandoned.push(ticket),
            }
        }
        for (ticket, action_id) in answer.occupied {
            if let Some(waiter) = state.waiting.remove(&ticket.number) {
                outcomes.push((waiter, Err(AdmissionError::MachineBusy(action_id))));
            }
        }
        if answer.sessions_unknown {
            let numbers: Vec<u64> = state.waiting.keys().copied().collect();
            abandoned.extend(numbers.iter().map(|number| self.ticket(*number)));
            let waiting = std::mem::take(&mut state.waiting);
            outcomes.extend(
                waiting.into_values().map(|waiter| (waiter, Err(AdmissionError::SessionsUnknown))),
            );
        }
        let pause =
            if abandoned.is_empty() && !state.waiting.is_empty() { answer.wait } else { 0.0 };
        state.leaving.extend(abandoned);
        state.room_at = self.clock.now() + if answer.wait.is_finite() { answer.wait } else { 0.0 };
        drop(state);
        for (waiter, outcome) in outcomes {
            let outcome =
                outcome.map(|ticket| GrantedTicket { queue: self.clone(), ticket: Some(ticket) });
            let _ = waiter.sender.send(outcome);
        }
        pause
    }

    /// The store is out of reach: nobody waits any longer, and what it may have granted is given back when it is there.
    fn fail(&self, error: &Error) {
        let waiting = {
            let mut state = self.state();
            state.task_running = false;
            let waiting = std::mem::take(&mut state.waiting);
            let tickets: Vec<Ticket> = waiting.keys().map(|number| self.ticket(*number)).collect();
            state.leaving.extend(tickets);
            waiting
        };
        for waiter in waiting.into_values() {
            let _ = waiter.sender.send(Err(AdmissionError::Failed(error.clone())));
        }
    }
}

impl QueueState {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.leaving.is_empty() && !self.task_running
    }
}

/// A place in queue, given up when dropped.
struct LeaveGuard<'a> {
    queue: &'a Arc<AdmissionQueue>,
    number: u64,
}

impl Drop for LeaveGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        if state.waiting.remove(&self.number).is_some() {
            state.leaving.push(self.queue.ticket(self.number));
            drop(state);
            self.queue.start_task();
        }
    }
}
