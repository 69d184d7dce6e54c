//! What an operator is shown of a whole store, and what is removed from it.

use serde::Serialize;

use super::QuotaKey;
use super::address::{open, quota_keys};
use super::store::{Pruned, Snapshot};
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Result;

/// What is held under one quota key.
#[derive(Clone, Debug, Serialize)]
pub struct QuotaSnapshot {
    #[serde(flatten)]
    pub key: QuotaKey,
    #[serde(flatten)]
    pub snapshot: Snapshot,
}

/// What was removed under one quota key.
#[derive(Clone, Debug, Serialize)]
pub struct QuotaPruned {
    #[serde(flatten)]
    pub key: QuotaKey,
    #[serde(flatten)]
    pub pruned: Pruned,
}

/// All that the store at `address` holds. In memory that is nothing: another process's is not to be seen.
pub async fn snapshot_all(address: &str) -> Result<Vec<QuotaSnapshot>> {
    let mut snapshots = Vec::new();
    for key in quota_keys(address).await? {
        let store = open(address, &key, &Limits::default(), Clock::new()).await?;
        snapshots.push(QuotaSnapshot { snapshot: store.snapshot().await?, key });
    }
    Ok(snapshots)
}

/// Removes what is older than `seconds`, less what is open.
pub async fn prune(address: &str, seconds: f64) -> Result<Vec<QuotaPruned>> {
    let mut removed = Vec::new();
    for key in quota_keys(address).await? {
        let store = open(address, &key, &Limits::default(), Clock::new()).await?;
        removed.push(QuotaPruned { pruned: store.prune(seconds).await?, key });
    }
    Ok(removed)
}
