//! What a store is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use super::QuotaKey;
use crate::clock::Clock;
use crate::config::{Limits, Rate};
use crate::operation::Operation;

/// Reads the time, in tests that set it.
pub type TimeSource = Arc<dyn Fn() -> f64 + Send + Sync>;

/// What a store is opened with.
#[derive(Clone)]
pub struct Settings {
    pub key: QuotaKey,
    pub limits: Limits,
    pub clock: Clock,
    /// Seconds until an open or a call gives up on a store that does not answer. The default is 10.
    pub timeout: f64,
    /// The time, set by a test. The default is the store's own.
    pub now: Option<TimeSource>,
    /// SQLite: pages that the file may have. The default is no limit.
    pub max_pages: Option<u32>,
    /// Redis: a PEM file of authorities that are trusted beside the system's. The default is REQUESTS_CA_BUNDLE.
    pub ca_bundle: Option<PathBuf>,
}

impl Settings {
    pub fn new(key: &QuotaKey, limits: &Limits, clock: Clock) -> Self {
        Self {
            key: key.clone(),
            limits: limits.clone(),
            clock,
            timeout: 10.0,
            now: None,
            max_pages: None,
            ca_bundle: None,
        }
    }

    /// The rates over one endpoint's calls.
    pub fn rates(&self, window: Operation) -> &[Rate] {
        if window == Operation::RunLiveResponse { &self.limits.submit } else { &self.limits.read }
    }

    /// Seconds for which an ended call may still count.
    pub fn longest_window(&self, window: Operation) -> f64 {
        self.rates(window).iter().map(|rate| rate.per).fold(0.0, f64::max)
    }
}
