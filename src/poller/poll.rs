//! One poll: the statuses that other clients stored, then one list call, then single reads.

use super::Poller;
use super::targets::ids_filter;
use crate::error::Result;
use crate::limits::Quota;
use crate::model::{MachineAction, is_guid};
use crate::trace::{self, LOG_TARGET};

/// Ids in one `$filter`. The service does not document its longest filter.
const IDS_PER_FILTER: usize = 50;

impl Poller {
    pub(super) async fn poll_once(&self) -> Result<()> {
        // The token is taken first: a poll that fails early must not be repeated immediately.
        self.table().list_bucket.take(self.pipeline.clock.now(), self.pace.calls);
        let (_, quota) = self.pipeline.shared_quota().await?;
        if !self.read_cached_statuses(&quota).await {
            self.table().list_bucket.refund();
            return Ok(());
        }
        let ids = self.ids_to_poll(&quota).await?;
        let (listed, not_guids): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| is_guid(id));
        let mut missing = not_guids;
        for (at, chunk) in listed.chunks(IDS_PER_FILTER).enumerate() {
            // The first chunk uses the token that was taken above.
            if at > 0 {
                self.table().list_bucket.take(self.pipeline.clock.now(), self.pace.calls);
            }
            let found = self.read_list(&quota, chunk).await?;
            missing.extend(chunk.iter().filter(|id| find(&found, id).is_none()).cloned());
        }
        // The list may come from a replica that does not know a new action yet.
        for id in self.ids_to_poll_individually(&missing) {
            self.poll_individually(&quota, &id).await;
        }
        Ok(())
    }

    /// Reads the actions with one list call, and passes them to the watchers and to the other
    /// clients. Returns those that the list has.
    async fn read_list(&self, quota: &Quota, ids: &[String]) -> Result<Vec<MachineAction>> {
        let found = self.pipeline.list_machine_actions(Some(&ids_filter(ids)), None).await?;
        self.cache_statuses(quota, &found).await;
        let now = self.pipeline.clock.now();
        for id in ids {
            if let Some(action) = find(&found, id) {
                self.record_action(quota, id, action.clone(), now).await;
            }
        }
        Ok(found)
    }

    /// Reads the action and the other open sessions with one list call. Returns None if the list
    /// does not have the action. Makes no call if no other session is open.
    pub async fn read_with_others(&self, id: &str) -> Result<Option<MachineAction>> {
        let (_, quota) = self.pipeline.shared_quota().await?;
        let open = quota.store().slots().await?.into_iter().filter_map(|slot| slot.action_id);
        let others = open.filter(|other| is_guid(other) && !other.eq_ignore_ascii_case(id));
        let mut ids: Vec<_> = others.take(IDS_PER_FILTER - 1).collect();
        if ids.is_empty() || !is_guid(id) {
            return Ok(None);
        }
        ids.push(id.to_owned());
        let found = self.read_list(&quota, &ids).await?;
        Ok(find(&found, id).cloned())
    }

    async fn poll_individually(&self, quota: &Quota, id: &str) {
        let trace = self.table().watched.get(id).and_then(|entry| entry.trace.clone());
        match trace::with_trace(trace, self.pipeline.get_machine_action(id)).await {
            Ok(action) => {
                self.cache_statuses(quota, std::slice::from_ref(&action)).await;
                self.record_action(quota, id, action, self.pipeline.clock.now()).await;
            }
            Err(error) => {
                let settle_time = self.pipeline.options.limits.settle_time;
                let now = self.pipeline.clock.now();
                self.table().record_failure(id, error, now, settle_time);
            }
        }
    }

    /// Passes the action to its watchers. If it has ended, frees its slot first.
    pub(super) async fn record_action(
        &self,
        quota: &Quota,
        id: &str,
        action: MachineAction,
        read_at: f64,
    ) {
        if action.is_done()
            && let Err(error) = quota.close_session(id).await
        {
            log::warn!(target: LOG_TARGET, "could not record the end of session {id}: {error}");
        }
        self.table().record_action(id, action, read_at);
    }
}

fn find<'a>(actions: &'a [MachineAction], id: &str) -> Option<&'a MachineAction> {
    actions.iter().find(|action| action.id.eq_ignore_ascii_case(id))
}
