//! What is meant to be submitted, and how far it came: from before the POST on.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::Command;

/// Intents with an action that are kept. An older one is found by its tag in the service's list.
const KEPT: usize = 10_000;

/// What one correlation id means: within tenant, application and machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IntentKey {
    pub machine_id: String,
    pub correlation_id: String,
}

/// How far an intent came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// A POST may have reached the service.
    pub posted: bool,
    pub action_id: Option<String>,
}

/// All intents of one store.
#[derive(Default)]
pub struct Intents(Mutex<Table>);

#[derive(Default)]
struct Table {
    known: HashMap<IntentKey, Arc<Intent>>,
    /// Those with an action, oldest first.
    settled: VecDeque<IntentKey>,
}

struct Intent {
    commands: Vec<Command>,
    turn: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    progress: Progress,
    claims: usize,
}

/// A caller's share in an intent. When the last one is dropped and nothing reached the service, the intent is withdrawn.
pub struct Claim {
    intents: Arc<Intents>,
    key: IntentKey,
    intent: Arc<Intent>,
}

impl Intents {
    /// A share in the intent of `key`, which is made with `commands` where there is none.
    pub fn claim(self: &Arc<Self>, key: &IntentKey, commands: &[Command]) -> Claim {
        let mut table = self.table();
        let new = || Arc::new(Intent { commands: commands.to_vec(), turn: Arc::default(), state: Mutex::default() });
        let intent = table.known.entry(key.clone()).or_insert_with(new).clone();
        intent.state().claims += 1;
        Claim { intents: self.clone(), key: key.clone(), intent }
    }

    pub fn known(&self, key: &IntentKey) -> Option<Progress> {
        self.table().known.get(key).map(|intent| intent.state().progress.clone())
    }

    pub fn count(&self) -> usize {
        self.table().known.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    pub fn key(&self) -> &IntentKey {
        &self.key
    }

    pub fn commands(&self) -> &[Command] {
        &self.intent.commands
    }

    /// Held by the one who submits; whoever comes later with the same id waits, then adopts.
    pub fn turn(&self) -> Arc<tokio::sync::Mutex<()>> {
        self.intent.turn.clone()
    }

    pub fn progress(&self) -> Progress {
        self.intent.state().progress.clone()
    }

    pub fn set_posted(&self, posted: bool) {
        self.intent.state().progress.posted = posted;
    }

    pub fn set_action(&self, action_id: &str) {
        let mut table = self.intents.table();
        let before = self.intent.state().progress.action_id.replace(action_id.to_owned());
        if before.is_some() {
            return;
        }
        table.settled.push_back(self.key.clone());
        if table.settled.len() > KEPT
            && let Some(oldest) = table.settled.pop_front()
        {
            table.known.remove(&oldest);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.intents.table();
        let mut state = self.intent.state();
        state.claims -= 1;
        let is_known = table.known.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.intent));
        if is_known && state.claims == 0 && state.progress == Progress::default() {
            table.known.remove(&self.key);
        }
    }
}
