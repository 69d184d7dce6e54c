//! Decides which actions to poll: in the list call, and individually.

use std::collections::BTreeSet;

use super::Poller;
use crate::client::odata_literal;
use crate::error::Result;
use crate::limits::Quota;

impl Poller {
    /// Returns the ids of the watched actions and of all open sessions.
    pub(super) async fn ids_to_poll(&self, quota: &Quota) -> Result<BTreeSet<String>> {
        let mut ids: BTreeSet<_> = {
            let mut table = self.table();
            table.polled_at = self.pipeline.clock.now();
            table.watched.keys().cloned().collect()
        };
        // Sessions of other clients cost nothing more in the same list call, and submits may wait
        // for their slots.
        ids.extend(quota.store().slots().await?.into_iter().filter_map(|slot| slot.action_id));
        Ok(ids)
    }

    /// Returns those of the actions missing from the list that may be polled individually now, the
    /// one polled longest ago first.
    pub(super) fn ids_to_poll_individually(&self, missing: &[String]) -> Vec<String> {
        let now = self.pipeline.clock.now();
        let table = &mut *self.table();
        let mut waiting: Vec<_> = Vec::new();
        for id in missing {
            if let Some(entry) = table.watched.get_mut(id) {
                entry.last_update_at = now;
                waiting.push((entry.polled_individually_at, id.clone()));
            }
        }
        waiting.sort_by(|a, b| a.0.total_cmp(&b.0));
        waiting.retain(|_| table.single_bucket.try_take(now, self.pace.calls));
        for (_, id) in &waiting {
            if let Some(entry) = table.watched.get_mut(id) {
                entry.polled_individually_at = now;
            }
        }
        waiting.into_iter().map(|(_, id)| id).collect()
    }
}

pub(super) fn ids_filter(ids: &[String]) -> String {
    format!("id in ({})", ids.iter().map(|id| odata_literal(id)).collect::<Vec<_>>().join(","))
}
