//! What an intent came to: the service's list asked for our tag, and the store told.

use std::sync::Arc;

use super::patience::Patience;
use super::submit::{Plan, Verdict};
use super::{Session, Sessions, Tag};
use crate::client::literal;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::state::store::{IntentKey, Learned};

/// When to look, as parts of `Limits.settle_time`: often at first, for most answers are lost after the act.
const LOOKS: [f64; 9] =
    [1.0 / 240.0, 1.0 / 120.0, 1.0 / 60.0, 1.0 / 30.0, 1.0 / 15.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0];

impl Plan {
    /// What this intent came to before, as the store and the service's list have it.
    pub async fn found_again(&self, patience: &Patience) -> Result<Option<Session>> {
        let (posted, key) = (self.turn.is_posted(), &self.turn.key);
        let found = match (posted || self.forgotten, self.given) {
            (true, _) => self.settle().await,
            (false, true) => patience.bound(self, self.look()).await?,
            (false, false) => return Ok(None),
        };
        let found = found.map_err(|error| {
            let mut error = self.about(error);
            error.retryable |= posted;
            error
        })?;
        let Some(action) = found else {
            if posted {
                let settle_time = self.sessions.pipeline.options.limits.settle_time;
                self.quota.clear_doubt(&key.machine_id, settle_time).await.map_err(|error| self.about(error))?;
            }
            return Ok(None);
        };
        if !self.is_ours(&action) {
            return Err(self.other_commands().with_action(&action.id));
        }
        self.settled(&action).await.map_err(|error| self.about(error))?;
        Ok(Some(self.sessions.meant(key, &action)))
    }

    /// Notes which action the intent came to; while that runs, it holds slot and machine.
    pub async fn settled(&self, action: &MachineAction) -> Result<()> {
        let lease = (!action.is_done()).then_some(self.lease);
        self.quota.store().settled(self.turn.key.clone(), action.id.clone(), lease).await?;
        if lease.is_none() {
            self.quota.wake();
        }
        Ok(())
    }

    /// Another's action is on the machine: it holds one of the tenant's slots, too.
    pub async fn learn_of(&self, action_id: Option<&str>) -> Result<()> {
        let Some(action_id) = action_id else { return Ok(()) };
        let machine_id = self.turn.key.machine_id.clone();
        self.quota.learn(vec![Learned { machine_id, action_id: action_id.to_owned(), lease: self.lease }]).await
    }

    /// The action, if it is in any look over the settle time. Only the last look says that there is none.
    pub async fn settle(&self) -> Result<Option<MachineAction>> {
        let mut last = Ok(None);
        for pause in self.pauses() {
            self.sessions.pipeline.clock.sleep(pause).await;
            last = self.look().await;
            match &last {
                Ok(Some(_)) => break,
                Err(error) if !error.retryable => break,
                Ok(None) | Err(_) => {}
            }
        }
        last
    }

    /// Looks our own tag up among this machine's live response actions. One who copied our comment has other commands.
    pub async fn look(&self) -> Result<Option<MachineAction>> {
        let mut tagged = self.sessions.tagged(&self.turn.key.machine_id, &self.tag).await?;
        let ours = tagged.iter().position(|action| self.same_commands(action)).unwrap_or_default();
        Ok((ours < tagged.len()).then(|| tagged.swap_remove(ours)))
    }

    /// Whether the service tells our commands; what it does not tell yet, it does not gainsay.
    fn same_commands(&self, action: &MachineAction) -> bool {
        let ours = &self.commands;
        let told = |(entry, ours): (&crate::model::ActionCommand, &crate::model::Command)| entry.command.is_like(ours);
        action.commands.is_empty()
            || (action.commands.len() == ours.len() && action.commands.iter().zip(ours.iter()).all(told))
    }

    /// Of an action that bears our tag. An id that was made here for this submit is nobody else's, so the service that
    /// tells its commands in other words still tells of ours.
    fn is_ours(&self, action: &MachineAction) -> bool {
        !self.given || self.same_commands(action)
    }

    pub fn ours(&self, action: MachineAction, was_there: bool) -> Verdict {
        if self.is_ours(&action) {
            return Verdict::Ours(Box::new(action), was_there);
        }
        Verdict::Refused(self.other_commands().with_action(&action.id))
    }

    pub fn unknown(&self, error: &Error, unreadable: &Error) -> Error {
        let message = format!(
            "machine {} may or may not have been submitted to ({error}), and the service could not be asked: {unreadable}",
            self.turn.key.machine_id
        );
        Error::new(Kind::SubmitUnknown, message)
            .with_source(unreadable.clone())
            .with_hint("submit again with the same correlation_id: it looks first, and starts nothing twice")
    }

    pub fn pauses(&self) -> impl Iterator<Item = f64> + use<> {
        self.sessions.pauses()
    }
}

impl Sessions {
    /// Seconds from one look to the next, over the settle time.
    fn pauses(&self) -> impl Iterator<Item = f64> + use<> {
        let settle_time = self.pipeline.options.limits.settle_time;
        let mut before = 0.0;
        LOOKS.into_iter().map(move |look| {
            let pause = (look - before) * settle_time;
            before = look;
            pause
        })
    }

    /// The session that a submit of the store's came to, whoever is at it: nothing is submitted. Of one of which a POST
    /// left, only the last look over the settle time says that there is none.
    pub async fn find_started(self: &Arc<Self>, key: &IntentKey) -> Result<Option<Session>> {
        let (_, quota) = self.pipeline.state().await?;
        let mut found = Ok(None);
        for pause in self.pauses() {
            let intent = quota.store().known_intent(key.clone()).await?;
            if !intent.is_some_and(|intent| intent.posted || intent.action_id.is_some()) {
                return Ok(None);
            }
            self.pipeline.clock.sleep(pause).await;
            found = self.find(&key.machine_id, &key.correlation_id).await;
            match &found {
                Ok(Some(_)) => break,
                Err(error) if !error.retryable => break,
                Ok(None) | Err(_) => {}
            }
        }
        found
    }

    /// The actions that bear `tag` among the machine's live response actions, oldest first.
    pub(super) async fn tagged(&self, machine_id: &str, tag: &Tag) -> Result<Vec<MachineAction>> {
        let mut actions = self.pipeline.machine_actions(Some(&on_machine(machine_id)), None).await?;
        actions.retain(|action| tag.is_on(action));
        actions.reverse();
        Ok(actions)
    }
}

pub(super) fn on_machine(machine_id: &str) -> String {
    format!("type eq 'LiveResponse' and machineId eq {}", literal(machine_id))
}
