//! Waiting for what others hold: a machine that is busy, a session slot of the tenant.

use std::convert::Infallible;
use std::sync::Arc;

use super::patience::Patience;
use super::settle::on_machine;
use super::submit::{Plan, Submit};
use super::{Session, Sessions, Tag};
use crate::error::{Error, Kind, Result};
use crate::model::is_machine_id;
use crate::pipeline::LOG;
use crate::state::{Admission, IntentKey, Memory, Occupied};

/// How often one who waits looks less often than at first, at the most.
const SLOWEST: u32 = 8;

impl Plan {
    /// Seconds until the next look at what others hold; the more `rounds` there were, the later.
    fn interval(&self, rounds: u32) -> f64 {
        self.sessions.pipeline.options.limits.settle_time / 8.0 * f64::from(rounds.clamp(1, SLOWEST))
    }

    /// Stands in line for slot, machine and window. A machine that one of our own sessions is on is looked at before it
    /// is called busy: that session may have ended while nobody looked.
    pub async fn admission(&self, submit: &Submit, patience: &Patience) -> Result<Admission> {
        let machine = &self.claim.key().machine_id;
        let mut looked = false;
        loop {
            let standing = async {
                tokio::select! {
                    admitted = self.memory.admit(machine, self.lease, submit.wait_if_busy) => admitted,
                    never = self.resolve_doubts() => match never {},
                }
            };
            match patience.bound(self, standing).await? {
                Ok(admission) => return Ok(admission),
                Err(occupied) if looked => return Err(self.about(busy_with_ours(machine, occupied))),
                Err(occupied) => {
                    looked = true;
                    let looking = self.sessions.look_at_machine(&self.memory, machine, &occupied);
                    if let Err(error) = patience.bound(self, looking).await? {
                        log::debug!(target: LOG, "could not look at the session on machine {machine}: {error}");
                    }
                }
            }
        }
    }

    /// Looks now and then whether the machine is really taken, where that is in doubt.
    async fn resolve_doubts(&self) -> Infallible {
        let machine = &self.claim.key().machine_id;
        loop {
            let occupied = self.memory.occupied(machine);
            if let Some(occupied) = occupied.filter(|occupied| occupied.in_doubt_since.is_some()) {
                let looked = self.sessions.look_at_machine(&self.memory, machine, &occupied).await;
                if let Err(error) = looked {
                    log::debug!(target: LOG, "could not look at machine {machine}: {error}");
                }
            }
            self.sessions.pipeline.clock.sleep(self.interval(SLOWEST)).await;
        }
    }

    /// Waits until nothing that the list shows is on the machine. A portal's session shows nowhere, so the next POST
    /// tells; it comes the later, the more `rounds` there were. Where nothing was `seen`, it may be a sibling's submit
    /// with our own id, which will have been listed after the settle time.
    pub async fn until_free(&self, rounds: u32, seen: bool) {
        let clock = self.sessions.pipeline.clock;
        let settling = if self.given && !seen { self.sessions.pipeline.options.limits.settle_time } else { 0.0 };
        clock.sleep(self.interval(rounds).max(settling)).await;
        while let Ok(Some(_)) = self.sessions.active_action(&self.claim.key().machine_id).await {
            clock.sleep(self.interval(rounds)).await;
        }
    }

    /// Waits for a slot of the tenant: one of our own sessions ends, or another's may have.
    pub async fn until_a_session_ends(&self, rounds: u32) {
        tokio::select! {
            () = self.memory.until_a_slot_is_free() => {}
            () = self.sessions.pipeline.clock.sleep(self.interval(rounds)) => {}
        }
    }
}

fn busy_with_ours(machine: &str, occupied: Occupied) -> Error {
    let message = match (&occupied.action_id, occupied.in_doubt_since) {
        (Some(action_id), _) => format!("machine {machine} is busy with a session of ours, {action_id}"),
        (None, Some(_)) => {
            format!("machine {machine} may be busy: what became of an earlier submit of ours is not known")
        }
        (None, None) => format!("machine {machine} is busy: another submit of ours is on its way"),
    };
    let mut error = Error::new(Kind::MachineBusy, message)
        .with_hint("wait for it with on_busy=\"wait\", or follow it with session(active_action_id)");
    error.active_action_id = occupied.action_id;
    error
}

impl Sessions {
    /// Looks at what holds a machine in our own store; what is over, or was never there, gives it back.
    async fn look_at_machine(&self, memory: &Memory, machine_id: &str, occupied: &Occupied) -> Result<()> {
        let settle_time = self.pipeline.options.limits.settle_time;
        if let Some(action_id) = &occupied.action_id {
            let action = self.pipeline.machine_action(action_id).await?;
            if action.is_done() {
                memory.close(action_id);
            }
        } else if occupied.in_doubt_since.is_some_and(|since| self.pipeline.clock.now() - since >= settle_time)
            && self.active_action(machine_id).await?.is_none()
        {
            memory.clear_doubt(machine_id);
        }
        Ok(())
    }

    /// Whatever runs on the machine now, where a list shows it.
    pub(super) async fn active_action(&self, machine_id: &str) -> Result<Option<String>> {
        let filter = format!("{} and (status eq 'Pending' or status eq 'InProgress')", on_machine(machine_id));
        let actions = self.pipeline.machine_actions(Some(&filter), Some(1)).await?;
        Ok(actions.into_iter().next().map(|action| action.id))
    }

    /// The session that `correlation_id` meant on the machine, if the store or the service's list knows it.
    pub async fn find(self: &Arc<Self>, machine_id: &str, correlation_id: &str) -> Result<Option<Session>> {
        let key = key(machine_id, correlation_id)?;
        let (quota, memory) = self.pipeline.state().await?;
        if let Some(action_id) = memory.known_intent(&key).and_then(|progress| progress.action_id) {
            return Ok(Some(self.known(&key, &action_id).await));
        }
        let tag = Tag::new(&quota, &key.machine_id, &key.correlation_id);
        let action = self.tagged(&key.machine_id, &tag).await?.into_iter().next();
        Ok(action.map(|action| self.meant(&key, &action)))
    }

    /// The session of an action that the store knows. One that can't be read just now is known all the same.
    pub(super) async fn known(self: &Arc<Self>, key: &IntentKey, action_id: &str) -> Session {
        let session = Session {
            machine_id: Some(key.machine_id.clone()),
            correlation_id: Some(key.correlation_id.clone()),
            ..self.session(action_id)
        };
        if let Err(error) = session.refresh(0.0).await {
            log::debug!(target: LOG, "could not read session {action_id}: {error}");
        }
        session
    }

    /// The session of an action that bears the tag of `key`.
    pub(super) fn meant(self: &Arc<Self>, key: &IntentKey, action: &crate::model::MachineAction) -> Session {
        let session = Session {
            machine_id: Some(key.machine_id.clone()),
            correlation_id: Some(key.correlation_id.clone()),
            ..self.session(&action.id)
        };
        session.saw(action);
        session
    }
}

/// What a correlation id on a machine is known by.
pub(super) fn key(machine_id: &str, correlation_id: &str) -> Result<IntentKey> {
    if !is_machine_id(machine_id) {
        return Err(Error::invalid(format!("{machine_id:?} is not a machine id"))
            .with_hint("a machine id has 40 hexadecimal digits; a name is looked up first"));
    }
    check_correlation_id(correlation_id)?;
    Ok(IntentKey { machine_id: machine_id.to_ascii_lowercase(), correlation_id: correlation_id.to_owned() })
}

pub(super) fn check_correlation_id(correlation_id: &str) -> Result<()> {
    match correlation_id.chars().count() {
        1..=128 => Ok(()),
        length => Err(Error::invalid(format!("a correlation id of {length} characters; it takes 1 to 128"))),
    }
}
