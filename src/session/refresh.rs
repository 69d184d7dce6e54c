//! Reads the status of a session once, without waiting for its end.

use super::Session;
use crate::error::{Kind, Result};
use crate::model::MachineAction;
use crate::poller::cached_action;

impl Session {
    /// Returns the action. Reads it unless a status of at most `max_age` seconds is known.
    pub async fn refresh(&self, max_age: f64) -> Result<MachineAction> {
        self.read_action(max_age).await.map_err(|error| self.in_context(error))
    }

    async fn read_action(&self, max_age: f64) -> Result<MachineAction> {
        self.find_correlation_id().await;
        let pipeline = &self.sessions.pipeline;
        if let Some((_, action)) =
            self.last_seen().filter(|(at, _)| pipeline.clock.now() - at < max_age)
        {
            return Ok(action);
        }
        if max_age > 0.0
            && let Some(action) = self.shared_action(max_age).await?
        {
            return Ok(action);
        }
        // The id is that of a session that was started once, so a 404 may pass.
        let reading = || pipeline.get_machine_action(&self.id);
        let read = match self.recent_action() {
            Some(_) => reading().await,
            None => pipeline.reread_if_not_found(reading).await,
        };
        let action = match (read, self.recent_action()) {
            (Ok(action), _) => action,
            // A replica may not know a new action yet and answer 404.
            (Err(error), Some(action)) if error.kind == Kind::NotFound => return Ok(action),
            (Err(error), _) => return Err(error),
        };
        self.record_action(&action);
        self.sessions.poller.publish_action(&action).await?;
        Ok(action)
    }

    /// Returns the action as any client stored it at most `max_age` seconds ago. Otherwise reads
    /// it in one call with the other open sessions, if there are any, for all clients.
    async fn shared_action(&self, max_age: f64) -> Result<Option<MachineAction>> {
        if let Some(action) = self.cached_action(max_age).await {
            return Ok(Some(action));
        }
        let listed = self.sessions.poller.read_with_others(&self.id).await?;
        if let Some(action) = &listed {
            self.record_action(action);
        }
        Ok(listed)
    }

    async fn cached_action(&self, max_age: f64) -> Option<MachineAction> {
        let (_, quota) = self.sessions.pipeline.shared_quota().await.ok()?;
        let cached = quota.store().cached_status(self.id.clone(), max_age).await.ok()??;
        let action = cached_action(&cached)?;
        self.record_action_read_at(&action, self.sessions.pipeline.clock.now() - cached.age);
        Some(action)
    }

    /// Returns the action if it was read within the settle time. In that time a 404 proves nothing.
    fn recent_action(&self) -> Option<MachineAction> {
        let pipeline = &self.sessions.pipeline;
        let (at, action) = self.last_seen()?;
        (pipeline.clock.now() - at <= pipeline.options.limits.settle_time).then_some(action)
    }
}
