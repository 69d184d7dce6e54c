//! Shows and prunes all quota keys of a store, for an operator.

use serde::Serialize;

use super::QuotaKey;
use super::address::{open, quota_keys};
use super::run_store::RunSummary;
use super::store::{Pruned, Snapshot};
use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Result;

/// What is stored for one quota key.
#[derive(Clone, Debug, Serialize)]
pub struct QuotaSnapshot {
    #[serde(flatten)]
    pub key: QuotaKey,
    #[serde(flatten)]
    pub snapshot: Snapshot,
    /// Newest first.
    pub runs: Vec<RunSummary>,
}

/// What was deleted for one quota key.
#[derive(Clone, Debug, Serialize)]
pub struct QuotaPruned {
    #[serde(flatten)]
    pub key: QuotaKey,
    #[serde(flatten)]
    pub pruned: Pruned,
}

/// Returns all that the store at `address` holds.
///
/// Returns nothing for `memory:`, because the memory of another process can't be read.
pub async fn snapshot_all(address: &str) -> Result<Vec<QuotaSnapshot>> {
    let mut snapshots = Vec::new();
    for key in quota_keys(address).await? {
        // The limits only set for how long ended calls are counted in the snapshot.
        let store = open(address, &key, &Limits::default(), Clock::new()).await?;
        let runs = store.run_store().list_runs().await?;
        snapshots.push(QuotaSnapshot { snapshot: store.snapshot().await?, runs, key });
    }
    Ok(snapshots)
}

/// Deletes what is older than `seconds`, except what is open or in use.
pub async fn prune(address: &str, seconds: f64) -> Result<Vec<QuotaPruned>> {
    let mut removed = Vec::new();
    for key in quota_keys(address).await? {
        let store = open(address, &key, &Limits::default(), Clock::new()).await?;
        removed.push(QuotaPruned { pruned: store.prune(seconds).await?, key });
    }
    Ok(removed)
}
