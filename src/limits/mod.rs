//! What the clients of one quota key in this process share: the lines, asked of the store, and what they let through.

mod line;
mod registry;
mod turn;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;

pub use registry::Quotas;
pub use turn::{Begun, Turn};

use self::line::Line;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::operation::Operation;
use crate::state::store::{Errand, Later, Learned, Slot, Store, Ticket, View};

/// Seconds.
const FLUSH: f64 = 2.0;

pub struct Quota {
    store: Arc<dyn Store>,
    clock: Clock,
    lines: HashMap<Operation, Arc<Line>>,
    submits: Arc<Line>,
    turn_left: Arc<Notify>,
    freed: Arc<Notify>,
}

/// The right to one call. The call ends when it is dropped.
pub struct Pass {
    store: Arc<dyn Store>,
    window: Operation,
    ticket: Ticket,
}

/// A session slot and the machine's lease. Dropped, both are free; kept, they are the intent's.
pub struct SlotGuard {
    line: Arc<Line>,
    freed: Arc<Notify>,
    held: Option<(String, Ticket)>,
}

/// The right to submit to one machine: a call in the window, and a slot.
pub struct Admission {
    pub pass: Pass,
    pub slot: SlotGuard,
}

/// Why nobody goes.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// One of our own sessions is on the machine.
    Occupied(Option<String>),
    /// The store lost what it knew: list the open sessions, tell them to [`Quota::learn`], and ask again.
    LearnFirst,
    /// The store is out of reach, or not fit.
    Failed(Error),
}

impl Quota {
    /// `call_lease` seconds after its start a call is over, or its process is dead.
    pub fn new(store: Arc<dyn Store>, clock: Clock, call_lease: f64) -> Self {
        // Each line counts its own tickets.
        let line = |window| Arc::new(Line::new(store.clone(), clock, window, fastrand::u64(..), call_lease));
        let lines = Operation::ALL.into_iter().map(|window| (window, line(window))).collect();
        let submits = line(Operation::RunLiveResponse);
        Self { clock, lines, submits, turn_left: Arc::default(), freed: Arc::default(), store }
    }

    /// Intents, sessions and looks are asked of the store itself.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    fn line(&self, window: Operation) -> &Arc<Line> {
        match window {
            Operation::RunLiveResponse => &self.submits,
            _ => self.lines.get(&window).unwrap_or(&self.submits),
        }
    }

    /// Waits for its turn and for room in an endpoint's window. Leaving the wait leaves the line.
    pub async fn enter(&self, window: Operation) -> Result<Pass> {
        let granted = self.line(window).enter(None).await.map_err(Refusal::into_error)?;
        let ticket = granted.take_up().unwrap_or(Ticket { owner: 0, number: 0 });
        Ok(Pass { store: self.store.clone(), window, ticket })
    }

    /// Stands in line for a slot, the machine and the submit window, as one.
    pub async fn admit(&self, errand: Errand) -> Result<Admission, Refusal> {
        let machine_id = errand.machine_id.clone();
        let granted = self.submits.enter(Some(errand)).await?;
        let ticket = granted.take_up().unwrap_or(Ticket { owner: 0, number: 0 });
        let pass = Pass { store: self.store.clone(), window: Operation::RunLiveResponse, ticket };
        Ok(Admission {
            pass,
            slot: SlotGuard { line: self.submits.clone(), freed: self.freed.clone(), held: Some((machine_id, ticket)) },
        })
    }

    /// Seconds until there may be room, as the line was last told.
    pub fn expected_wait(&self, window: Operation) -> f64 {
        self.line(window).expected_wait()
    }

    pub async fn view(&self, window: Operation) -> Result<View> {
        self.store.view(window).await
    }

    /// Holds every waiting call back for `seconds`: the service said so.
    pub async fn hold(&self, window: Operation, seconds: f64) -> Result<()> {
        self.store.hold(window, seconds).await
    }

    /// The action is over: its slot and its machine are free.
    pub async fn close(&self, action_id: &str) -> Result<()> {
        if self.store.close(action_id).await? {
            self.wake();
        }
        Ok(())
    }

    /// What holds the machine, as far as the store knows.
    pub async fn occupied(&self, machine_id: &str) -> Result<Option<Slot>> {
        Ok(self.store.slots().await?.into_iter().find(|slot| slot.machine_id == machine_id))
    }

    /// There is no action after all where one has been in doubt for `seconds`.
    pub async fn clear_doubt(&self, machine_id: &str, seconds: f64) -> Result<()> {
        if self.store.clear_doubt(machine_id.to_owned(), seconds).await? {
            self.wake();
        }
        Ok(())
    }

    /// Waits until fewer slots are taken than now.
    pub async fn until_a_slot_is_free(&self) -> Result<()> {
        let before = self.store.slots().await?.len();
        let look = if self.store.is_shared() { 1.0 } else { f64::INFINITY };
        loop {
            let freed = self.freed.notified();
            if self.store.slots().await?.len() < before {
                return Ok(());
            }
            tokio::select! { () = freed => {}, () = self.clock.sleep(look) => {} }
        }
    }

    /// Sessions that the service shows as open. What it does not know of, the store counts from now on.
    pub async fn learn(&self, sessions: Vec<Learned>) -> Result<()> {
        self.store.learn(sessions).await?;
        self.wake();
        Ok(())
    }

    /// Returns when what was left for later is done; soon, also where the store is out of reach.
    pub async fn flush(&self) {
        let patience = crate::clock::seconds_to_duration(FLUSH);
        let flushed = tokio::time::timeout(patience, self.store.flush()).await;
        if !matches!(flushed, Ok(Ok(()))) {
            log::debug!(target: crate::trace::LOG, "the state store could not be told all: leases will tell it");
        }
    }

    /// Something freed a slot by way of the store.
    pub fn wake(&self) {
        self.submits.wake();
        self.freed.notify_waiters();
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.store.later(Later::Finish(self.window, self.ticket));
    }
}

impl SlotGuard {
    /// The slot is the intent's: an action holds it, or nobody knows whether one does. It is freed by `settled`,
    /// `withdraw`, `close`, or its lease.
    pub fn keep(mut self) {
        self.held = None;
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        if let Some((machine_id, ticket)) = self.held.take() {
            self.line.store.later(Later::Free(machine_id, ticket));
            self.line.wake();
            self.freed.notify_waiters();
        }
    }
}

impl Refusal {
    pub fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Occupied(action_id) => {
                let mut error = Error::new(crate::error::Kind::MachineBusy, "a session of ours is on the machine");
                error.active_action_id = action_id;
                error
            }
            Self::LearnFirst => {
                let message = "the state store lost what it knew of open sessions";
                let mut error = Error::new(crate::error::Kind::State, message);
                error.retryable = true;
                error
            }
        }
    }
}
