//! Shares statuses through the store: one list call serves all clients that use the same store.

use super::Poller;
use crate::error::Result;
use crate::limits::Quota;
use crate::model::MachineAction;
use crate::state::store::CachedStatus;
use crate::trace::LOG_TARGET;

impl Poller {
    /// Takes the statuses that other clients stored since the last update. Returns whether this
    /// client still has to poll.
    pub(super) async fn read_cached_statuses(&self, quota: &Quota) -> bool {
        let now = self.pipeline.clock.now();
        let statuses = match self.load_cached_statuses(quota, now).await {
            Ok(statuses) => statuses,
            Err(error) => {
                log::debug!(target: LOG_TARGET, "could not read the cached statuses: {error}");
                return true;
            }
        };
        for (id, status) in statuses {
            let read_at = now - status.age;
            self.table().record_slot_poll(read_at);
            let is_newer =
                self.table().watched.get(&id).is_some_and(|entry| read_at > entry.last_update_at);
            if let Some(action) = cached_action(&status).filter(|_| is_newer) {
                self.record_action(quota, &id, action, read_at).await;
            }
        }
        // Recording may take a while in a store that other processes share.
        let now = self.pipeline.clock.now();
        self.due_at(&self.table(), now) <= now
    }

    /// Loads the cached statuses of the watched actions, and with slot watches of all open ones.
    async fn load_cached_statuses(
        &self,
        quota: &Quota,
        now: f64,
    ) -> Result<Vec<(String, CachedStatus)>> {
        let (mut ids, max_age, watches_slots) = {
            let table = self.table();
            (
                table.watched.keys().cloned().collect::<Vec<_>>(),
                table.oldest_status_age(now),
                table.slot_watches > 0,
            )
        };
        if watches_slots {
            ids.extend(quota.store().slots().await?.into_iter().filter_map(|slot| slot.action_id));
        }
        if ids.is_empty() {
            Ok(Vec::new())
        } else {
            quota.store().cached_statuses(ids, max_age).await
        }
    }

    /// Stores the status of an action that was read outside of a poll. Frees its slot if it ended.
    pub async fn publish_action(&self, action: &MachineAction) -> Result<()> {
        let (_, quota) = self.pipeline.shared_quota().await?;
        self.cache_statuses(&quota, std::slice::from_ref(action)).await;
        if action.is_done() { quota.close_session(&action.id).await } else { Ok(()) }
    }

    /// Stores the statuses for the other clients.
    pub(super) async fn cache_statuses(&self, quota: &Quota, actions: &[MachineAction]) {
        let statuses = actions
            .iter()
            .filter_map(|action| Some((action.id.clone(), serde_json::to_string(action).ok()?)));
        if let Err(error) = quota.store().cache_statuses(statuses.collect()).await {
            log::debug!(target: LOG_TARGET, "could not store the statuses: {error}");
        }
    }
}

/// Decodes a cached status. Ignores a status that another version wrote in another form.
pub fn cached_action(status: &CachedStatus) -> Option<MachineAction> {
    serde_json::from_str(&status.body).ok()
}
