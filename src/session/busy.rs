//! Waiting for what others hold: a machine that is busy, a session slot of the tenant.

use std::convert::Infallible;
use std::sync::Arc;

use super::found::on_machine;
use super::patience::Patience;
use super::submit::{Plan, Submit};
use super::{Session, Sessions, Tag};
use crate::error::{Error, Kind, Result};
use crate::limits::{Admission, Quota, Refusal};
use crate::model::{MachineAction, is_machine_id};
use crate::state::store::{Errand, IntentKey, Learned, Slot};
use crate::trace::LOG;

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
        let machine = &self.turn.key.machine_id;
        let mut looked = false;
        loop {
            let standing = async {
                tokio::select! {
                    admitted = self.quota.admit(self.errand(submit)) => admitted,
                    never = self.resolve_doubts() => match never {},
                }
            };
            match patience.bound(self, standing).await? {
                Ok(admission) => return Ok(admission),
                Err(Refusal::Failed(error)) => return Err(self.about(error)),
                Err(Refusal::LearnFirst) => {
                    log::warn!(target: LOG, "the state store lost what it knew of open sessions; asking the service");
                    patience.bound(self, self.learn()).await?.map_err(|error| self.about(error))?;
                }
                Err(Refusal::Occupied(_)) => {
                    let Some(slot) = self.quota.occupied(machine).await.map_err(|error| self.about(error))? else {
                        continue;
                    };
                    if looked {
                        return Err(self.about(busy_with_ours(slot)));
                    }
                    looked = true;
                    if let Err(error) = patience.bound(self, self.sessions.look_at(&self.quota, &slot)).await? {
                        log::debug!(target: LOG, "could not look at the session on machine {machine}: {error}");
                    }
                }
            }
        }
    }

    fn errand(&self, submit: &Submit) -> Errand {
        Errand {
            machine_id: self.turn.key.machine_id.clone(),
            correlation_id: self.turn.key.correlation_id.clone(),
            lease: self.lease,
            wait: submit.wait_if_busy,
        }
    }

    /// Tells the store of every session that the service lists as open.
    async fn learn(&self) -> Result<()> {
        let open = self.sessions.open_actions(None).await?;
        let learned = open.into_iter().filter_map(|action| {
            Some(Learned { machine_id: action.machine_id?, action_id: action.id, lease: self.lease })
        });
        self.quota.learn(learned.collect()).await
    }

    /// Looks now and then whether the slots are really taken of which that is in doubt.
    async fn resolve_doubts(&self) -> Infallible {
        loop {
            let cleared = async {
                let slots = self.quota.store().slots().await?;
                self.sessions.clear_doubts(&self.quota, &slots).await
            };
            if let Err(error) = cleared.await {
                log::debug!(target: LOG, "could not look at the sessions in doubt: {error}");
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
        while let Ok(Some(_)) = self.sessions.active_action(&self.turn.key.machine_id).await {
            clock.sleep(self.interval(rounds)).await;
        }
    }

    /// Waits for a slot of the tenant: one of our own sessions ends, or another's may have. The service counts sessions
    /// that the store does not know of: it is told of them.
    pub async fn until_a_session_ends(&self, rounds: u32) {
        if let Err(error) = self.learn().await {
            log::debug!(target: LOG, "could not list the sessions that are open: {error}");
        }
        tokio::select! {
            Ok(()) = self.quota.until_a_slot_is_free() => {}
            () = self.sessions.pipeline.clock.sleep(self.interval(rounds)) => {}
        }
    }
}

fn busy_with_ours(slot: Slot) -> Error {
    let machine = &slot.machine_id;
    let whose = if slot.correlation_id.is_some() { "a session of ours" } else { "another's session" };
    let message = match (&slot.action_id, slot.in_doubt) {
        (Some(action_id), _) => format!("machine {machine} is busy with {whose}, {action_id}"),
        (None, Some(_)) => {
            format!("machine {machine} may be busy: what became of an earlier submit of ours is not known")
        }
        (None, None) => format!("machine {machine} is busy: another submit of ours is on its way"),
    };
    let mut error = Error::new(Kind::MachineBusy, message)
        .with_hint("wait for it with on_busy=\"wait\", or follow it with session(active_action_id)");
    error.active_action_id = slot.action_id;
    error
}

impl Sessions {
    /// Looks at what holds a machine in our own store; what is over, or was never there, gives it back.
    async fn look_at(&self, quota: &Quota, slot: &Slot) -> Result<()> {
        let Some(action_id) = &slot.action_id else {
            return self.clear_doubts(quota, std::slice::from_ref(slot)).await;
        };
        if self.pipeline.machine_action(action_id).await?.is_done() {
            quota.close(action_id).await?;
        }
        Ok(())
    }

    /// Gives back the slots that have been in doubt for so long that the service would list an action, and does not.
    async fn clear_doubts(&self, quota: &Quota, slots: &[Slot]) -> Result<()> {
        let settle_time = self.pipeline.options.limits.settle_time;
        let doubtful = |slot: &&Slot| slot.action_id.is_none() && slot.in_doubt.is_some_and(|age| age >= settle_time);
        let doubtful: Vec<_> = slots.iter().filter(doubtful).map(|slot| &slot.machine_id).collect();
        let machine = match doubtful.as_slice() {
            [] => return Ok(()),
            [one] => Some(one.as_str()),
            _ => None,
        };
        let open = self.open_actions(machine).await?;
        for machine_id in doubtful {
            let is_on_it = |action: &MachineAction| {
                action.machine_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(machine_id))
            };
            if !open.iter().any(is_on_it) {
                quota.clear_doubt(machine_id, settle_time).await?;
            }
        }
        Ok(())
    }

    /// The live response sessions that the service lists as open, of one machine or of all.
    async fn open_actions(&self, machine_id: Option<&str>) -> Result<Vec<MachineAction>> {
        let of_whom = machine_id.map_or_else(|| "type eq 'LiveResponse'".to_owned(), on_machine);
        let filter = format!("{of_whom} and (status eq 'Pending' or status eq 'InProgress')");
        self.pipeline.machine_actions(Some(&filter), None).await
    }

    /// Whatever runs on the machine now, where a list shows it.
    pub(super) async fn active_action(&self, machine_id: &str) -> Result<Option<String>> {
        Ok(self.open_actions(Some(machine_id)).await?.into_iter().next().map(|action| action.id))
    }

    /// The session that `correlation_id` meant on the machine, if the store or the service's list knows it.
    pub async fn find(self: &Arc<Self>, machine_id: &str, correlation_id: &str) -> Result<Option<Session>> {
        let key = key(machine_id, correlation_id)?;
        let (quota_key, quota) = self.pipeline.state().await?;
        let known = quota.store().known_intent(key.clone()).await?;
        if let Some(action_id) = known.and_then(|intent| intent.action_id) {
            return Ok(Some(self.known(&key, &action_id).await));
        }
        let tag = Tag::new(&quota_key, &key.machine_id, &key.correlation_id);
        let action = self.tagged(&key.machine_id, &tag).await?.into_iter().next();
        Ok(action.map(|action| self.meant(&key, &action)))
    }

    /// Our sessions that the store knows to be open, whichever process started them.
    pub async fn open(self: &Arc<Self>) -> Result<Vec<Session>> {
        let (_, quota) = self.pipeline.state().await?;
        let slots = quota.store().slots().await?;
        let session = |slot: Slot| {
            let (correlation_id, action_id) = (slot.correlation_id?, slot.action_id?);
            let machine_id = Some(slot.machine_id);
            Some(Session { machine_id, correlation_id: Some(correlation_id), ..self.session(&action_id) })
        };
        Ok(slots.into_iter().filter_map(session).collect())
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
    pub(super) fn meant(self: &Arc<Self>, key: &IntentKey, action: &MachineAction) -> Session {
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
