//! What an intent came to: the service's list asked for our tag, and the store told.

use std::sync::Arc;

use super::submit::{PostOutcome, SubmitPlan};
use super::wait_limit::WaitLimit;
use super::{Session, Sessions, Tag};
use crate::client::odata_literal;
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::state::store::{IntentKey, OpenSession};

/// When to look, as parts of `Limits.settle_time`: often at first, for most answers are lost after the act.
const SETTLE_SCHEDULE: [f64; 9] = [
    1.0 / 240.0,
    1.0 / 120.0,
    1.0 / 60.0,
    1.0 / 30.0,
    1.0 / 15.0,
    1.0 / 8.0,
    1.0 / 4.0,
    1.0 / 2.0,
    1.0,
];

impl SubmitPlan {
    /// What this intent came to before, as the store and the service's list have it.
    pub async fn find_existing(&self, wait_limit: &WaitLimit) -> Result<Option<Session>> {
        let (posted, key) = (self.intent_lease.is_posted(), &self.intent_lease.key);
        let found = match (posted || self.store_was_reset, self.has_caller_id) {
            (true, _) => self.settle().await,
            (false, true) => wait_limit.enforce(self, self.find_by_tag()).await?,
            (false, false) => return Ok(None),
        };
        let found = found.map_err(|error| {
            let mut error = self.annotate(error);
            error.retryable |= posted;
            error
        })?;
        let Some(action) = found else {
            if posted {
                let settle_time = self.sessions.pipeline.options.limits.settle_time;
                self.quota
                    .release_in_doubt_slot(&key.machine_id, settle_time)
                    .await
                    .map_err(|error| self.annotate(error))?;
            }
            return Ok(None);
        };
        if !self.is_ours(&action) {
            return Err(self.commands_mismatch_error().with_action(&action.id));
        }
        self.record_started(&action).await.map_err(|error| self.annotate(error))?;
        Ok(Some(self.sessions.session_from_action(key, &action)))
    }

    /// Notes which action the intent came to; while that runs, it holds slot and machine.
    pub async fn record_started(&self, action: &MachineAction) -> Result<()> {
        let lease = (!action.is_done()).then_some(self.slot_ttl);
        self.quota
            .store()
            .record_action(self.intent_lease.key.clone(), action.id.clone(), lease)
            .await?;
        if lease.is_none() {
            self.quota.wake();
        }
        Ok(())
    }

    /// Another's action is on the machine: it holds one of the tenant's slots, too.
    pub async fn record_foreign_action(&self, action_id: Option<&str>) -> Result<()> {
        let Some(action_id) = action_id else { return Ok(()) };
        let machine_id = self.intent_lease.key.machine_id.clone();
        self.quota
            .record_open_sessions(vec![OpenSession {
                machine_id,
                action_id: action_id.to_owned(),
                lease: self.slot_ttl,
            }])
            .await
    }

    /// The action, if it is in any look over the settle time. Only the last look says that there is none.
    pub async fn settle(&self) -> Result<Option<MachineAction>> {
        let mut last = Ok(None);
        for pause in self.settle_delays() {
            self.sessions.pipeline.clock.sleep(pause).await;
            last = self.find_by_tag().await;
            match &last {
                Ok(Some(_)) => break,
                Err(error) if !error.retryable => break,
                Ok(None) | Err(_) => {}
            }
        }
        last
    }

    /// Looks our own tag up among this machine's live response actions. One who copied our comment has other commands.
    pub async fn find_by_tag(&self) -> Result<Option<MachineAction>> {
        let mut tagged =
            self.sessions.list_tagged(&self.intent_lease.key.machine_id, &self.tag).await?;
        let ours = tagged.iter().position(|action| self.same_commands(action)).unwrap_or_default();
        Ok((ours < tagged.len()).then(|| tagged.swap_remove(ours)))
    }

    /// Whether the service tells our commands; what it does not tell yet, it does not gainsay.
    fn same_commands(&self, action: &MachineAction) -> bool {
        let ours = &self.commands;
        let is_same = |(entry, ours): (&crate::model::ActionCommand, &crate::model::Command)| {
            entry.command.matches_submitted(ours)
        };
        action.commands.is_empty()
            || (action.commands.len() == ours.len()
                && action.commands.iter().zip(ours.iter()).all(is_same))
    }

    /// Of an action that bears our tag. An id that was made here for this submit is nobody else's, so the service that
    /// tells its commands in other words still tells of ours.
    fn is_ours(&self, action: &MachineAction) -> bool {
        !self.has_caller_id || self.same_commands(action)
    }

    pub fn outcome_of_action(&self, action: MachineAction, already_existed: bool) -> PostOutcome {
        if self.is_ours(&action) {
            return PostOutcome::Ours(Box::new(action), already_existed);
        }
        PostOutcome::Refused(self.commands_mismatch_error().with_action(&action.id))
    }

    pub fn unknown_outcome_error(&self, error: &Error, read_error: &Error) -> Error {
        let message = format!(
            "machine {} may or may not have been submitted to ({error}), and the service could not be asked: {read_error}",
            self.intent_lease.key.machine_id
        );
        Error::new(Kind::SubmitUnknown, message).with_source(read_error.clone()).with_hint(
            "submit again with the same correlation_id: it looks first, and starts nothing twice",
        )
    }

    pub fn settle_delays(&self) -> impl Iterator<Item = f64> + use<> {
        self.sessions.settle_delays()
    }
}

impl Sessions {
    /// Seconds from one look to the next, over the settle time.
    fn settle_delays(&self) -> impl Iterator<Item = f64> + use<> {
        let settle_time = self.pipeline.options.limits.settle_time;
        let mut before = 0.0;
        SETTLE_SCHEDULE.into_iter().map(move |at| {
            let pause = (at - before) * settle_time;
            before = at;
            pause
        })
    }

    /// The session that a submit of the store's came to, whoever is at it: nothing is submitted. Of one of which a POST
    /// left, only the last look over the settle time says that there is none.
    pub async fn find_until_settled(self: &Arc<Self>, key: &IntentKey) -> Result<Option<Session>> {
        let (_, quota) = self.pipeline.shared_quota().await?;
        let mut found = Ok(None);
        for pause in self.settle_delays() {
            let intent = quota.store().get_intent(key.clone()).await?;
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
    pub(super) async fn list_tagged(
        &self,
        machine_id: &str,
        tag: &Tag,
    ) -> Result<Vec<MachineAction>> {
        let mut actions =
            self.pipeline.list_machine_actions(Some(&machine_filter(machine_id)), None).await?;
        actions.retain(|action| tag.matches(action));
        actions.reverse();
        Ok(actions)
    }
}

pub(super) fn machine_filter(machine_id: &str) -> String {
    format!("type eq 'LiveResponse' and machineId eq {}", odata_literal(machine_id))
}
