//! The task that asks the store for all waiters of one queue.

use std::sync::Arc;

use super::AdmissionError;
use super::queue::{AdmissionQueue, GrantedTicket};
use crate::error::Error;
use crate::state::admission::{AdmissionRequest, AdmissionResponse, QueueEntry, Ticket};

/// Seconds over which processes that were given the same time spread their next requests.
const JITTER: f64 = 0.01;
/// Seconds for which requests to a failing store are repeated.
const STORE_TIMEOUT: f64 = 10.0;

impl AdmissionQueue {
    /// Starts the task, or wakes it if it runs.
    pub(super) fn start_task(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if std::mem::replace(&mut self.state().task_running, true) {
            self.wake_signal.notify_one();
        } else {
            runtime.spawn(self.clone().run());
        }
    }

    /// Sends requests until there is nothing to add to the queue or to remove from it.
    async fn run(self: Arc<Self>) {
        let (mut is_retry, mut failing_since, mut failures) = (false, None, 0_u32);
        while let Some((request, had_joined)) = self.next_request(is_retry) {
            let leave = request.leave.clone();
            let pause = match self.store.request_admission(request).await {
                Ok(answer) => {
                    failing_since = None;
                    // The store dropped the places, because this process did not ask in time.
                    let lost_places = answer.owner_unknown && had_joined;
                    let pause = self.deliver(answer);
                    is_retry = lost_places && self.mark_unjoined();
                    if is_retry { 0.0 } else { pause }
                }
                Err(error) => {
                    // The store may have done the request before the answer was lost.
                    is_retry = true;
                    failures += 1;
                    let now = self.clock.now();
                    let should_retry =
                        error.retryable && now - *failing_since.get_or_insert(now) < STORE_TIMEOUT;
                    self.state().leaving.extend(leave);
                    if !should_retry {
                        return self.fail(&error);
                    }
                    self.mark_unjoined();
                    f64::from(failures.min(10)) * 0.1 * (0.5 + fastrand::f64())
                }
            };
            self.wait_to_retry(pause).await;
        }
    }

    /// Waits before the next request, until something wakes the task.
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

    /// Returns the next request, and whether waiters had joined before.
    ///
    /// Returns `None` and marks the task as ended if nobody waits or leaves.
    fn next_request(&self, is_retry: bool) -> Option<(AdmissionRequest, bool)> {
        let mut state = self.state();
        if state.waiting.is_empty() && state.leaving.is_empty() {
            state.task_running = false;
            return None;
        }
        let leave = std::mem::take(&mut state.leaving);
        let had_joined = state.waiting.values().any(|waiter| waiter.joined);
        let mut join = Vec::new();
        for (number, waiter) in state.waiting.iter_mut().filter(|(_, waiter)| !waiter.joined) {
            waiter.joined = true;
            join.push(QueueEntry {
                ticket: self.ticket(*number),
                slot_request: waiter.slot_request.clone(),
            });
        }
        Some((self.build_request(join, leave, is_retry), had_joined))
    }

    /// Marks all waiters as not joined, so that the next request names them again. Returns whether
    /// any had joined.
    fn mark_unjoined(&self) -> bool {
        let mut state = self.state();
        let mut any = false;
        for waiter in state.waiting.values_mut() {
            any |= waiter.joined;
            waiter.joined = false;
        }
        any
    }

    /// Sends each waiter its answer. Returns the seconds until asking again may help.
    fn deliver(self: &Arc<Self>, answer: AdmissionResponse) -> f64 {
        let mut outcomes = Vec::new();
        let mut abandoned = Vec::new();
        let mut state = self.state();
        for ticket in answer.granted {
            match state.waiting.remove(&ticket.number) {
                Some(waiter) => outcomes.push((waiter, Ok(ticket))),
                // The caller cancelled while the request was sent: return the ticket.
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
        // A waiter that is gone drops its ticket here, which locks the state again.
        drop(state);
        for (waiter, outcome) in outcomes {
            let outcome =
                outcome.map(|ticket| GrantedTicket { queue: self.clone(), ticket: Some(ticket) });
            let _ = waiter.sender.send(outcome);
        }
        pause
    }

    /// Fails all waiters. The next request returns the tickets that the store may have granted.
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
