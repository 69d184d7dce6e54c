//! What a sibling saw is as good as a look of our own: one list call serves all clients that share a store.

use super::{Poller, WatchTable};
use crate::error::Result;
use crate::limits::Quota;
use crate::model::MachineAction;
use crate::state::store::CachedStatus;
use crate::trace::LOG_TARGET;

/// Of the poller's base interval: over so much are those spread who would look at the same time.
const JITTER: f64 = 0.25;

impl Poller {
    /// Takes what others saw since we last heard of our sessions. Tells whether a look of our own is due all the same.
    pub(super) async fn read_cached_statuses(&self, quota: &Quota) -> bool {
        let now = self.pipeline.clock.now();
        let statuses = match self.load_cached_statuses(quota, now).await {
            Ok(statuses) => statuses,
            Err(error) => {
                log::debug!(target: LOG_TARGET, "could not ask the store what siblings saw: {error}");
                return true;
            }
        };
        for (id, status) in statuses {
            let seen_at = now - status.age;
            self.table().record_slot_poll(seen_at);
            let is_newer =
                self.table().watched.get(&id).is_some_and(|entry| seen_at > entry.last_update_at);
            if let Some(action) = serde_json::from_str(&status.body).ok().filter(|_| is_newer) {
                self.record_action(quota, &id, action, seen_at).await;
            }
        }
        let now = self.pipeline.clock.now();
        self.due_at(&self.table(), now) <= now
    }

    /// What anybody saw since we last heard of those who are watched, and where somebody attends, of all that are open.
    async fn load_cached_statuses(
        &self,
        quota: &Quota,
        now: f64,
    ) -> Result<Vec<(String, CachedStatus)>> {
        let (mut ids, max_age, attended) = {
            let table = self.table();
            (
                table.watched.keys().cloned().collect::<Vec<_>>(),
                table.oldest_status_age(now),
                table.slot_watches > 0,
            )
        };
        if attended {
            ids.extend(quota.store().slots().await?.into_iter().filter_map(|slot| slot.action_id));
        }
        if ids.is_empty() {
            Ok(Vec::new())
        } else {
            quota.store().cached_statuses(ids, max_age).await
        }
    }

    /// Leaves what was seen of one action to the others; one that is over gives its slot back.
    pub async fn publish_action(&self, action: &MachineAction) -> Result<()> {
        let (_, quota) = self.pipeline.shared_quota().await?;
        self.cache_statuses(&quota, std::slice::from_ref(action)).await;
        if action.is_done() { quota.close_session(&action.id).await } else { Ok(()) }
    }

    /// Leaves what was seen to the others.
    pub(super) async fn cache_statuses(&self, quota: &Quota, actions: &[MachineAction]) {
        let statuses = actions
            .iter()
            .filter_map(|action| Some((action.id.clone(), serde_json::to_string(action).ok()?)));
        if let Err(error) = quota.store().cache_statuses(statuses.collect()).await {
            log::debug!(target: LOG_TARGET, "could not tell the store what was seen: {error}");
        }
    }

    /// Seconds by which a look is put off, so that the first of those that are due can serve the others.
    pub(super) fn jitter(&self) -> f64 {
        fastrand::f64() * JITTER * self.pace.base
    }
}

impl WatchTable {
    /// Seconds since anything was heard of the one of whom that is the longest ago.
    fn oldest_status_age(&self, now: f64) -> f64 {
        let attended = if self.slot_watches > 0 { now - self.polled_at } else { 0.0 };
        self.watched
            .values()
            .map(|entry| now - entry.last_update_at.max(entry.since))
            .fold(attended, f64::max)
    }

    /// Somebody looked at all that is open.
    fn record_slot_poll(&mut self, at: f64) {
        self.polled_at = self.polled_at.max(at);
    }
}
