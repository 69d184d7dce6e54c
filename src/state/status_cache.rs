//! The latest status of each action, shared by all processes so that one poll serves all of them.

use super::StoreFuture;

/// Keeps the latest status of actions for an hour. Losing one only costs a request.
pub trait StatusCache: Send + Sync {
    /// Stores the statuses of several actions, as (action id, JSON), with the present time.
    fn cache_statuses(&self, statuses: Vec<(String, String)>) -> StoreFuture<'_, ()>;

    /// Returns the statuses cached within the last `max_age` seconds, in the order of the ids.
    ///
    /// Actions without one are left out.
    fn cached_statuses(
        &self,
        action_ids: Vec<String>,
        max_age: f64,
    ) -> StoreFuture<'_, Vec<(String, CachedStatus)>>;

    /// Stores the status of one action.
    fn cache_status(&self, action_id: String, body: String) -> StoreFuture<'_, ()> {
        self.cache_statuses(vec![(action_id, body)])
    }

    /// Returns the status of one action, if it is at most `max_age` seconds old.
    fn cached_status(
        &self,
        action_id: String,
        max_age: f64,
    ) -> StoreFuture<'_, Option<CachedStatus>> {
        let statuses = self.cached_statuses(vec![action_id], max_age);
        Box::pin(async move { Ok(statuses.await?.pop().map(|(_, status)| status)) })
    }
}

/// A status that some process read.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedStatus {
    /// The action as JSON.
    pub body: String,
    /// Seconds since it was read.
    pub age: f64,
}
