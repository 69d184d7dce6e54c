//! Standing in line for one window: all who wait in this process share one asker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::Refusal;
use crate::clock::Clock;
use crate::error::Error;
use crate::operation::Operation;
use crate::state::store::{Answer, Ask, Errand, Joining, Store, Ticket};

/// Seconds over which those who were told the same time to ask again are spread.
const JITTER: f64 = 0.01;
/// Seconds for which a store that fails is asked again.
const PATIENCE: f64 = 10.0;

pub struct Line {
    pub store: Arc<dyn Store>,
    clock: Clock,
    window: Operation,
    owner: u64,
    call_lease: f64,
    queue: Mutex<Queue>,
    woken: Notify,
}

#[derive(Default)]
struct Queue {
    /// By arrival, which is also the number of the ticket.
    waiting: BTreeMap<u64, Waiter>,
    leaving: Vec<Ticket>,
    arrivals: u64,
    /// There is a task that asks.
    asking: bool,
    room_at: f64,
}

struct Waiter {
    errand: Option<Errand>,
    /// The store has its ticket.
    joined: bool,
    tell: oneshot::Sender<Result<Granted, Refusal>>,
}

/// The right to go, until it is taken up. Dropped before, the call never was.
pub struct Granted {
    line: Arc<Line>,
    ticket: Option<Ticket>,
}

impl Granted {
    pub fn take_up(mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.line.queue().leaving.push(ticket);
            self.line.ask_soon();
        }
    }
}

impl Line {
    pub fn new(store: Arc<dyn Store>, clock: Clock, window: Operation, owner: u64, call_lease: f64) -> Self {
        Self { store, clock, window, owner, call_lease, queue: Mutex::default(), woken: Notify::new() }
    }

    /// Waits for its turn and for room. Leaving the wait leaves the line.
    pub async fn enter(self: &Arc<Self>, errand: Option<Errand>) -> Result<Granted, Refusal> {
        let (tell, told) = oneshot::channel();
        let number = {
            let mut queue = self.queue();
            let number = queue.arrivals;
            queue.arrivals += 1;
            let mut waiter = Waiter { errand, joined: false, tell };
            if queue.is_idle()
                && let Some(answer) = self.ask_now(number, &mut waiter)
            {
                return answer;
            }
            queue.waiting.insert(number, waiter);
            number
        };
        let _leave = Leave { line: self, number };
        self.ask_soon();
        told.await.unwrap_or_else(|_| {
            let message = "the line was left, for its process is at its end";
            Err(Refusal::Failed(Error::new(crate::error::Kind::State, message)))
        })
    }

    /// Seconds until there may be room for the first in line, as it was last told.
    pub fn expected_wait(&self) -> f64 {
        (self.queue().room_at - self.clock.now()).max(0.0)
    }

    /// Something changed: whoever waits asks again.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(&self, number: u64) -> Ticket {
        Ticket { owner: self.owner, number }
    }

    /// Where the store is in this process and nobody waits, the answer is there at once.
    fn ask_now(self: &Arc<Self>, number: u64, waiter: &mut Waiter) -> Option<Result<Granted, Refusal>> {
        let ticket = self.ticket(number);
        let join = vec![Joining { ticket, errand: waiter.errand.clone() }];
        let answer = self.store.ask_now(&self.ask(join, Vec::new(), false))?;
        if let Some((_, action_id)) = answer.occupied.into_iter().next() {
            return Some(Err(Refusal::Occupied(action_id)));
        }
        if answer.granted.is_empty() {
            waiter.joined = true;
            return None;
        }
        Some(Ok(Granted { line: self.clone(), ticket: Some(ticket) }))
    }

    fn ask(&self, join: Vec<Joining>, leave: Vec<Ticket>, again: bool) -> Ask {
        Ask { window: self.window, owner: self.owner, call_lease: self.call_lease, join, again, leave }
    }

    fn ask_soon(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if std::mem::replace(&mut self.queue().asking, true) {
            self.woken.notify_one();
        } else {
            runtime.spawn(self.clone().run());
        }
    }

    async fn run(self: Arc<Self>) {
        let (mut again, mut failing_since, mut failures) = (false, None, 0_u32);
        while let Some((ask, earlier)) = self.next_ask(again) {
            let leave = ask.leave.clone();
            let pause = match self.store.ask(ask).await {
                Ok(answer) => {
                    failing_since = None;
                    let lost_places = answer.stranger && earlier;
                    let pause = self.deliver(answer);
                    again = lost_places && self.join_again();
                    if again { 0.0 } else { pause }
                }
                Err(error) => {
                    again = true;
                    failures += 1;
                    let now = self.clock.now();
                    let bearable = error.retryable && now - *failing_since.get_or_insert(now) < PATIENCE;
                    self.queue().leaving.extend(leave);
                    if !bearable {
                        return self.fail(&error);
                    }
                    self.join_again();
                    f64::from(failures.min(10)) * 0.1 * (0.5 + fastrand::f64())
                }
            };
            self.rest(pause).await;
        }
    }

    async fn rest(&self, pause: f64) {
        if pause == f64::INFINITY {
            return self.woken.notified().await;
        }
        let jitter = if self.store.is_shared() { fastrand::f64() * JITTER } else { 0.0 };
        tokio::select! {
            () = self.clock.sleep(pause + jitter) => {}
            () = self.woken.notified() => {}
        }
    }

    /// What there is to ask, and whether some joined before; nothing, and the task ends, when nobody waits or leaves.
    fn next_ask(&self, again: bool) -> Option<(Ask, bool)> {
        let mut queue = self.queue();
        if queue.waiting.is_empty() && queue.leaving.is_empty() {
            queue.asking = false;
            return None;
        }
        let leave = std::mem::take(&mut queue.leaving);
        let earlier = queue.waiting.values().any(|waiter| waiter.joined);
        let mut join = Vec::new();
        for (number, waiter) in queue.waiting.iter_mut().filter(|(_, waiter)| !waiter.joined) {
            waiter.joined = true;
            join.push(Joining { ticket: self.ticket(*number), errand: waiter.errand.clone() });
        }
        Some((self.ask(join, leave, again), earlier))
    }

    /// The store may not have the tickets that it was given. Tells whether there are any.
    fn join_again(&self) -> bool {
        let mut queue = self.queue();
        let mut any = false;
        for waiter in queue.waiting.values_mut() {
            any |= waiter.joined;
            waiter.joined = false;
        }
        any
    }

    /// Tells each what became of it, and returns the seconds until asking again may help.
    fn deliver(self: &Arc<Self>, answer: Answer) -> f64 {
        let mut told = Vec::new();
        let mut unheard = Vec::new();
        let mut queue = self.queue();
        for ticket in answer.granted {
            match queue.waiting.remove(&ticket.number) {
                Some(waiter) => told.push((waiter, Ok(ticket))),
                None => unheard.push(ticket),
            }
        }
        for (ticket, action_id) in answer.occupied {
            if let Some(waiter) = queue.waiting.remove(&ticket.number) {
                told.push((waiter, Err(Refusal::Occupied(action_id))));
            }
        }
        if answer.learn_first {
            let numbers: Vec<u64> = queue.waiting.keys().copied().collect();
            unheard.extend(numbers.iter().map(|number| self.ticket(*number)));
            let waiting = std::mem::take(&mut queue.waiting);
            told.extend(waiting.into_values().map(|waiter| (waiter, Err(Refusal::LearnFirst))));
        }
        let pause = if unheard.is_empty() && !queue.waiting.is_empty() { answer.wait } else { 0.0 };
        queue.leaving.extend(unheard);
        queue.room_at = self.clock.now() + if answer.wait.is_finite() { answer.wait } else { 0.0 };
        drop(queue);
        for (waiter, outcome) in told {
            let outcome = outcome.map(|ticket| Granted { line: self.clone(), ticket: Some(ticket) });
            let _ = waiter.tell.send(outcome);
        }
        pause
    }

    /// The store is out of reach: nobody waits any longer, and what it may have granted is given back when it is there.
    fn fail(&self, error: &Error) {
        let waiting = {
            let mut queue = self.queue();
            queue.asking = false;
            let waiting = std::mem::take(&mut queue.waiting);
            let tickets: Vec<Ticket> = waiting.keys().map(|number| self.ticket(*number)).collect();
            queue.leaving.extend(tickets);
            waiting
        };
        for waiter in waiting.into_values() {
            let _ = waiter.tell.send(Err(Refusal::Failed(error.clone())));
        }
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.leaving.is_empty() && !self.asking
    }
}

/// A place in line, given up when dropped.
struct Leave<'a> {
    line: &'a Arc<Line>,
    number: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut queue = self.line.queue();
        if queue.waiting.remove(&self.number).is_some() {
            queue.leaving.push(self.line.ticket(self.number));
            drop(queue);
            self.line.ask_soon();
        }
    }
}
