//! What a sibling saw is as good as a look of our own: one list call serves all clients that share a store.

use super::{Poller, Table};
use crate::error::Result;
use crate::limits::Quota;
use crate::model::MachineAction;
use crate::state::store::Look;
use crate::trace::LOG;

/// Of the poller's base interval: over so much are those spread who would look at the same time.
const SPREAD: f64 = 0.25;

impl Poller {
    /// Takes what others saw since we last heard of our sessions. Tells whether a look of our own is due all the same.
    pub(super) async fn hear_siblings(&self, quota: &Quota) -> bool {
        let now = self.pipeline.clock.now();
        let looks = match self.looks(quota, now).await {
            Ok(looks) => looks,
            Err(error) => {
                log::debug!(target: LOG, "could not ask the store what siblings saw: {error}");
                return true;
            }
        };
        for (id, look) in looks {
            let seen_at = now - look.age;
            self.table().attended(seen_at);
            let news = self.table().watched.get(&id).is_some_and(|entry| seen_at > entry.heard_at);
            if let Some(action) = serde_json::from_str(&look.body).ok().filter(|_| news) {
                self.saw(quota, &id, action, seen_at).await;
            }
        }
        let now = self.pipeline.clock.now();
        self.due_at(&self.table(), now) <= now
    }

    /// What anybody saw since we last heard of those who are watched, and where somebody attends, of all that are open.
    async fn looks(&self, quota: &Quota, now: f64) -> Result<Vec<(String, Look)>> {
        let (mut ids, longest, attended) = {
            let table = self.table();
            (table.watched.keys().cloned().collect::<Vec<_>>(), table.longest_unheard(now), table.attending > 0)
        };
        if attended {
            ids.extend(quota.store().slots().await?.into_iter().filter_map(|slot| slot.action_id));
        }
        if ids.is_empty() { Ok(Vec::new()) } else { quota.store().looks(ids, longest).await }
    }

    /// Leaves what was seen of one action to the others; one that is over gives its slot back.
    pub async fn tell(&self, action: &MachineAction) -> Result<()> {
        let (_, quota) = self.pipeline.state().await?;
        self.tell_siblings(&quota, std::slice::from_ref(action)).await;
        if action.is_done() { quota.close(&action.id).await } else { Ok(()) }
    }

    /// Leaves what was seen to the others.
    pub(super) async fn tell_siblings(&self, quota: &Quota, actions: &[MachineAction]) {
        let looks = actions.iter().filter_map(|action| Some((action.id.clone(), serde_json::to_string(action).ok()?)));
        if let Err(error) = quota.store().put_looks(looks.collect()).await {
            log::debug!(target: LOG, "could not tell the store what was seen: {error}");
        }
    }

    /// Seconds by which a look is put off, so that the first of those that are due can serve the others.
    pub(super) fn spread(&self) -> f64 {
        fastrand::f64() * SPREAD * self.pace.base
    }
}

impl Table {
    /// Seconds since anything was heard of the one of whom that is the longest ago.
    fn longest_unheard(&self, now: f64) -> f64 {
        let attended = if self.attending > 0 { now - self.looked_at } else { 0.0 };
        self.watched.values().map(|entry| now - entry.heard_at.max(entry.since)).fold(attended, f64::max)
    }

    /// Somebody looked at all that is open.
    fn attended(&mut self, at: f64) {
        self.looked_at = self.looked_at.max(at);
    }
}
