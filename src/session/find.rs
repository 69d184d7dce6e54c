//! Finding a session that was submitted before, without starting one.

use std::collections::HashSet;
use std::sync::Arc;

use super::evidence::{Evidence, Ownership};
use super::history::service_time_at;
use super::plan::intent_key;
use super::{Session, Sessions, Tag};
use crate::error::Result;
use crate::model::MachineAction;
use crate::state::store::{IntentKey, SessionSlot};
use crate::trace::LOG_TARGET;

impl Sessions {
    /// Returns the session of `correlation_id` on the machine, if the store or the service's list
    /// has it.
    pub async fn find(
        self: &Arc<Self>,
        machine_id: &str,
        correlation_id: &str,
    ) -> Result<Option<Session>> {
        let key = intent_key(machine_id, correlation_id)?;
        let (quota_key, quota) = self.pipeline.shared_quota().await?;
        let known = quota.store().get_intent(key.clone()).await?;
        if let Some(action_id) = known.as_ref().and_then(|intent| intent.action_id.as_deref()) {
            return Ok(Some(self.load_session(&key, action_id).await));
        }
        // The tag of an earlier submit may come from another name of the service.
        let stored = known.as_ref().and_then(|intent| Tag::in_comment(&intent.comment));
        let tag =
            stored.unwrap_or_else(|| Tag::new(&quota_key, &key.machine_id, &key.correlation_id));
        let mut actions = self.list_actions_on(&key.machine_id, &tag).await?;
        // Oldest first: the first POST that started an action is the one to adopt.
        actions.reverse();
        let evidence = Evidence {
            tag: &tag,
            machine_id: &key.machine_id,
            commands: known.as_ref().map_or(&[], |intent| &intent.commands),
            posted_at: known
                .as_ref()
                .filter(|intent| intent.posted)
                .map(|intent| service_time_at(self, intent.created)),
            known_before: &HashSet::new(),
        };
        let find = |wanted| actions.iter().find(|action| evidence.judge(action, true) == wanted);
        let action = find(Ownership::OursByTag).or_else(|| find(Ownership::OursByCircumstances));
        Ok(action.map(|action| self.session_from_action(&key, action)))
    }

    /// Returns the session of a submit that may still be running, perhaps in another process.
    ///
    /// Submits nothing. If a POST was sent, only the last read of the list at the end of the
    /// settle time proves that there is no session.
    pub async fn find_until_settled(self: &Arc<Self>, key: &IntentKey) -> Result<Option<Session>> {
        let (_, quota) = self.pipeline.shared_quota().await?;
        let mut found = Ok(None);
        for pause in self.settle_delays() {
            // During that time, the other process may find out that its POST was not sent.
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

    /// Returns our sessions that the store records as open, from every process that shares it.
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

    /// Returns the session of an action that the store records, with its current status if that
    /// can be read.
    pub(super) async fn load_session(
        self: &Arc<Self>,
        key: &IntentKey,
        action_id: &str,
    ) -> Session {
        let session = self.session_of(key, action_id);
        // The store proves that the session exists, so a failed read is not an error here.
        if let Err(error) = session.refresh(0.0).await {
            log::debug!(target: LOG_TARGET, "could not read session {action_id}: {error}");
        }
        session
    }

    /// Returns the session of an action that has the tag of `key`.
    pub(super) fn session_from_action(
        self: &Arc<Self>,
        key: &IntentKey,
        action: &MachineAction,
    ) -> Session {
        let session = self.session_of(key, &action.id);
        session.record_action(action);
        session
    }

    fn session_of(self: &Arc<Self>, key: &IntentKey, action_id: &str) -> Session {
        Session {
            machine_id: Some(key.machine_id.clone()),
            correlation_id: Some(key.correlation_id.clone()),
            ..self.session(action_id)
        }
    }
}
