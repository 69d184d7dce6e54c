//! Waiting for what others hold: a machine that is busy, a session slot of the tenant.

use std::convert::Infallible;
use std::sync::Arc;

use super::lookup::machine_filter;
use super::submit::{SubmitPlan, SubmitRequest};
use super::wait_limit::WaitLimit;
use super::{Session, Sessions, Tag};
use crate::error::{Error, Kind, Result};
use crate::limits::{Admission, AdmissionError, Quota};
use crate::model::{MachineAction, is_machine_id};
use crate::pauses;
use crate::state::store::{IntentKey, OpenSession, SessionSlot, SlotRequest};
use crate::trace::LOG_TARGET;

/// How often one who waits looks less often than at first, at the most.
const MAX_INTERVAL_FACTOR: u32 = 8;

impl SubmitPlan {
    /// Seconds until the next look at what others hold; the more `retries` there were, the later.
    fn interval(&self, retries: u32) -> f64 {
        pauses::BUSY_POLL.seconds(&self.sessions.pipeline.options.limits)
            * f64::from(retries.clamp(1, MAX_INTERVAL_FACTOR))
    }

    /// Stands in line for slot, machine and window. A machine that one of our own sessions is on is looked at before it
    /// is called busy: that session may have ended while nobody looked.
    pub async fn admission(
        &self,
        submit: &SubmitRequest,
        wait_limit: &WaitLimit,
    ) -> Result<Admission> {
        let machine = &self.intent_lease.key.machine_id;
        let mut rechecked = false;
        loop {
            let admitting = async {
                tokio::select! {
                    admitted = self.quota.admit_submit(self.slot_request(submit)) => admitted,
                    never = self.recheck_uncertain_slots() => match never {},
                }
            };
            match wait_limit.enforce(self, admitting).await? {
                Ok(admission) => return Ok(admission),
                Err(AdmissionError::Failed(error)) => return Err(self.annotate(error)),
                Err(AdmissionError::SessionsUnknown) => {
                    log::warn!(target: LOG_TARGET, "the state store lost what it knew of open sessions; asking the service");
                    wait_limit
                        .enforce(self, self.sync_open_sessions())
                        .await?
                        .map_err(|error| self.annotate(error))?;
                }
                Err(AdmissionError::MachineBusy(_)) => {
                    let Some(slot) = self
                        .quota
                        .slot_on_machine(machine)
                        .await
                        .map_err(|error| self.annotate(error))?
                    else {
                        continue;
                    };
                    if rechecked {
                        return Err(self.annotate(machine_busy_error(slot)));
                    }
                    rechecked = true;
                    if let Err(error) = wait_limit
                        .enforce(self, self.sessions.recheck_slot(&self.quota, &slot))
                        .await?
                    {
                        log::debug!(target: LOG_TARGET, "could not look at the session on machine {machine}: {error}");
                    }
                }
            }
        }
    }

    fn slot_request(&self, submit: &SubmitRequest) -> SlotRequest {
        SlotRequest {
            machine_id: self.intent_lease.key.machine_id.clone(),
            correlation_id: self.intent_lease.key.correlation_id.clone(),
            lease: self.slot_ttl,
            wait: submit.wait_if_busy,
        }
    }

    /// Tells the store of every session that the service lists as open.
    async fn sync_open_sessions(&self) -> Result<()> {
        let open = self.sessions.list_open_actions(None).await?;
        let learned = open.into_iter().filter_map(|action| {
            Some(OpenSession {
                machine_id: action.machine_id?,
                action_id: action.id,
                lease: self.slot_ttl,
            })
        });
        self.quota.record_open_sessions(learned.collect()).await
    }

    /// Looks now and then whether the slots are really taken of which that is in doubt.
    async fn recheck_uncertain_slots(&self) -> Infallible {
        loop {
            let cleared = async {
                let slots = self.quota.store().slots().await?;
                self.sessions.free_stale_slots(&self.quota, &slots).await
            };
            if let Err(error) = cleared.await {
                log::debug!(target: LOG_TARGET, "could not look at the sessions in doubt: {error}");
            }
            self.sessions.pipeline.clock.sleep(self.interval(MAX_INTERVAL_FACTOR)).await;
        }
    }

    /// Waits until nothing that the list shows is on the machine. A portal's session shows nowhere, so the next POST
    /// tells; it comes the later, the more `retries` there were. Where nothing was `listed`, it may be a sibling's submit
    /// with our own id, which will have been listed after the settle time.
    pub async fn wait_until_machine_free(&self, retries: u32, listed: bool) {
        let clock = self.sessions.pipeline.clock;
        let settling = if self.has_caller_id && !listed {
            self.sessions.pipeline.options.limits.settle_time
        } else {
            0.0
        };
        clock.sleep(self.interval(retries).max(settling)).await;
        while let Ok(Some(_)) =
            self.sessions.find_active_action(&self.intent_lease.key.machine_id).await
        {
            clock.sleep(self.interval(retries)).await;
        }
    }

    /// Waits for a slot of the tenant: one of our own sessions ends, or another's may have. The service counts sessions
    /// that the store does not know of: it is told of them.
    pub async fn wait_for_session_slot(&self, retries: u32) {
        if let Err(error) = self.sync_open_sessions().await {
            log::debug!(target: LOG_TARGET, "could not list the sessions that are open: {error}");
        }
        tokio::select! {
            Ok(()) = self.quota.wait_for_free_slot() => {}
            () = self.sessions.pipeline.clock.sleep(self.interval(retries)) => {}
        }
    }
}

fn machine_busy_error(slot: SessionSlot) -> Error {
    let machine = &slot.machine_id;
    let whose =
        if slot.correlation_id.is_some() { "a session of ours" } else { "another's session" };
    let message = match (&slot.action_id, slot.in_doubt) {
        (Some(action_id), _) => format!("machine {machine} is busy with {whose}, {action_id}"),
        (None, Some(_)) => {
            format!(
                "machine {machine} may be busy: what became of an earlier submit of ours is not known"
            )
        }
        (None, None) => format!("machine {machine} is busy: another submit of ours is on its way"),
    };
    let mut error = Error::new(Kind::MachineBusy, message).with_hint(
        "wait for it with on_busy=\"wait\", or follow it with session(active_action_id)",
    );
    error.active_action_id = slot.action_id;
    error
}

impl Sessions {
    /// Looks at what holds a machine in our own store; what is over, or was never there, gives it back.
    async fn recheck_slot(&self, quota: &Quota, slot: &SessionSlot) -> Result<()> {
        let Some(action_id) = &slot.action_id else {
            return self.free_stale_slots(quota, std::slice::from_ref(slot)).await;
        };
        if self.pipeline.get_machine_action(action_id).await?.is_done() {
            quota.close_session(action_id).await?;
        }
        Ok(())
    }

    /// Gives back the slots that have been in doubt for so long that the service would list an action, and does not.
    async fn free_stale_slots(&self, quota: &Quota, slots: &[SessionSlot]) -> Result<()> {
        let settle_time = self.pipeline.options.limits.settle_time;
        let stale = |slot: &&SessionSlot| {
            slot.action_id.is_none() && slot.in_doubt.is_some_and(|age| age >= settle_time)
        };
        let stale: Vec<_> = slots.iter().filter(stale).map(|slot| &slot.machine_id).collect();
        let machine = match stale.as_slice() {
            [] => return Ok(()),
            [one] => Some(one.as_str()),
            _ => None,
        };
        let open = self.list_open_actions(machine).await?;
        for machine_id in stale {
            let is_on_it = |action: &MachineAction| {
                action.machine_id.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(machine_id))
            };
            if !open.iter().any(is_on_it) {
                quota.release_in_doubt_slot(machine_id, settle_time).await?;
            }
        }
        Ok(())
    }

    /// The live response sessions that the service lists as open, of one machine or of all.
    async fn list_open_actions(&self, machine_id: Option<&str>) -> Result<Vec<MachineAction>> {
        let scope = machine_id.map_or_else(|| "type eq 'LiveResponse'".to_owned(), machine_filter);
        let filter = format!("{scope} and (status eq 'Pending' or status eq 'InProgress')");
        self.pipeline.list_machine_actions(Some(&filter), None).await
    }

    /// Whatever runs on the machine now, where a list shows it.
    pub(super) async fn find_active_action(&self, machine_id: &str) -> Result<Option<String>> {
        Ok(self
            .list_open_actions(Some(machine_id))
            .await?
            .into_iter()
            .next()
            .map(|action| action.id))
    }

    /// The session that `correlation_id` meant on the machine, if the store or the service's list knows it.
    pub async fn find(
        self: &Arc<Self>,
        machine_id: &str,
        correlation_id: &str,
    ) -> Result<Option<Session>> {
        let key = intent_key(machine_id, correlation_id)?;
        let (quota_key, quota) = self.pipeline.shared_quota().await?;
        let known = quota.store().get_intent(key.clone()).await?;
        if let Some(action_id) = known.and_then(|intent| intent.action_id) {
            return Ok(Some(self.load_session(&key, &action_id).await));
        }
        let tag = Tag::new(&quota_key, &key.machine_id, &key.correlation_id);
        let action = self.list_tagged(&key.machine_id, &tag).await?.into_iter().next();
        Ok(action.map(|action| self.session_from_action(&key, &action)))
    }

    /// Our sessions that the store knows to be open, whichever process started them.
    pub async fn open(self: &Arc<Self>) -> Result<Vec<Session>> {
        let (_, quota) = self.pipeline.shared_quota().await?;
        let slots = quota.store().slots().await?;
        let session = |slot: SessionSlot| {
            let (correlation_id, action_id) = (slot.correlation_id?, slot.action_id?);
            let machine_id = Some(slot.machine_id);
            Some(Session {
                machine_id,
                correlation_id: Some(correlation_id),
                ..self.session(&action_id)
            })
        };
        Ok(slots.into_iter().filter_map(session).collect())
    }

    /// The session of an action that the store knows. One that can't be read just now is known all the same.
    pub(super) async fn load_session(
        self: &Arc<Self>,
        key: &IntentKey,
        action_id: &str,
    ) -> Session {
        let session = Session {
            machine_id: Some(key.machine_id.clone()),
            correlation_id: Some(key.correlation_id.clone()),
            ..self.session(action_id)
        };
        if let Err(error) = session.refresh(0.0).await {
            log::debug!(target: LOG_TARGET, "could not read session {action_id}: {error}");
        }
        session
    }

    /// The session of an action that bears the tag of `key`.
    pub(super) fn session_from_action(
        self: &Arc<Self>,
        key: &IntentKey,
        action: &MachineAction,
    ) -> Session {
        let session = Session {
            machine_id: Some(key.machine_id.clone()),
            correlation_id: Some(key.correlation_id.clone()),
            ..self.session(&action.id)
        };
        session.record_action(action);
        session
    }
}

/// What a correlation id on a machine is known by.
pub(super) fn intent_key(machine_id: &str, correlation_id: &str) -> Result<IntentKey> {
    if !is_machine_id(machine_id) {
        return Err(Error::invalid(format!("{machine_id:?} is not a machine id"))
            .with_hint("a machine id has 40 hexadecimal digits; a name is looked up first"));
    }
    check_correlation_id(correlation_id)?;
    Ok(IntentKey {
        machine_id: machine_id.to_ascii_lowercase(),
        correlation_id: correlation_id.to_owned(),
    })
}

pub(super) fn check_correlation_id(correlation_id: &str) -> Result<()> {
    match correlation_id.chars().count() {
        1..=128 => Ok(()),
        length => Err(Error::invalid(format!(
            "a correlation id of {length} characters; it takes 1 to 128"
        ))),
    }
}
