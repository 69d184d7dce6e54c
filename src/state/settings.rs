//! The options a store is opened with.

use std::path::PathBuf;
use std::sync::Arc;

use super::QuotaKey;
use crate::clock::Clock;
use crate::config::{Limits, Rate};
use crate::operation::Operation;

/// Returns the time, in tests that control it.
pub type TimeSource = Arc<dyn Fn() -> f64 + Send + Sync>;

/// The options a store is opened with.
#[derive(Clone)]
pub struct StoreSettings {
    pub key: QuotaKey,
    pub limits: Limits,
    pub clock: Clock,
    /// Seconds until an open or a call fails because the store does not answer. Default: 10.
    pub timeout: f64,
    /// The time, set by a test. Default: the store's own clock.
    pub now: Option<TimeSource>,
    /// SQLite: the maximum number of pages of the file. Default: no limit.
    pub max_pages: Option<u32>,
    /// Redis: a PEM file of CA certificates, trusted beside those of the system. Default:
    /// REQUESTS_CA_BUNDLE.
    pub ca_bundle: Option<PathBuf>,
}

impl StoreSettings {
    /// Returns the default options for `key`.
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

    /// Returns the rates that apply to the window.
    pub fn rates(&self, window: Operation) -> &[Rate] {
        if window == Operation::RunLiveResponse { &self.limits.submit } else { &self.limits.read }
    }

    /// Returns the seconds for which an ended call may still count.
    pub fn longest_window(&self, window: Operation) -> f64 {
        self.rates(window).iter().map(|rate| rate.per).fold(0.0, f64::max)
    }
}
