//! Waiting for what others hold: a machine that is busy, a session slot of the tenant.

use std::convert::Infallible;
use std::sync::Arc;

use super::submit::Plan;
use super::{Session, Sessions, Tag};
use crate::error::Result;
use crate::poller::ids_filter;
use crate::state::IntentKey;

/// Ids in one list call.
const CHUNK: usize = 50;

impl Plan {
    /// Seconds between two looks at what others hold.
    fn interval(&self) -> f64 {
        self.sessions.pipeline.options.limits.settle_time / 8.0
    }

    /// Looks at our own open sessions for ever, so that the slots of those that ended become free.
    pub async fn keep_looking(&self) -> Infallible {
        let clock = self.sessions.pipeline.clock;
        loop {
            clock.sleep(self.interval()).await;
            if let Err(error) = self.sessions.look_at_open().await {
                log::debug!(target: crate::pipeline::LOG, "could not look at the open sessions: {error}");
            }
        }
    }

    /// Waits until nothing that the list shows is on the machine. A portal's session shows nowhere, so the next POST
    /// tells; it comes the later, the more `rounds` there were.
    pub async fn until_free(&self, rounds: u32) {
        let clock = self.sessions.pipeline.clock;
        loop {
            clock.sleep(self.interval() * f64::from(rounds.min(8))).await;
            if self.active_action().await.is_none() {
                return;
            }
        }
    }

    /// Waits for a slot of the tenant: one of our own sessions ends, or another's may have.
    pub async fn until_a_session_ends(&self) {
        let clock = self.sessions.pipeline.clock;
        let _ = self.sessions.look_at_open().await;
        clock.sleep(self.interval()).await;
    }
}

impl Sessions {
    /// Looks at every session that holds a slot; those that are over give it back.
    pub async fn look_at_open(&self) -> Result<()> {
        let (_, memory) = self.pipeline.state().await?;
        for chunk in memory.open_actions().chunks(CHUNK) {
            let actions = self.pipeline.machine_actions(Some(&ids_filter(chunk)), None).await?;
            for action in actions.iter().filter(|action| action.is_done()) {
                memory.close(&action.id);
            }
        }
        Ok(())
    }

    /// The session that `correlation_id` meant on the machine, if the store or the service's list knows it.
    pub async fn find(self: &Arc<Self>, machine_id: &str, correlation_id: &str) -> Result<Option<Session>> {
        let (quota, memory) = self.pipeline.state().await?;
        let key = IntentKey { machine_id: machine_id.to_owned(), correlation_id: correlation_id.to_owned() };
        let tag = Tag::new(&quota, machine_id, correlation_id);
        let known = memory.known_intent(&key).and_then(|intent| intent.progress().action_id);
        let action = match known {
            Some(action_id) => Some(self.pipeline.machine_action(&action_id).await?),
            None => self.tagged(machine_id, &tag).await?,
        };
        Ok(action.map(|action| {
            let session = Session {
                machine_id: Some(key.machine_id),
                correlation_id: Some(key.correlation_id),
                ..self.session(&action.id)
            };
            session.saw(&action);
            session
        }))
    }
}
