//! Which hosts of results have answered, and since when the others have not. A firewall that blocks
//! blob storage is common, and its administrator may need days.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// Seconds to keep trying a host that has never answered this client.
const NEW_HOST_PATIENCE: f64 = 60.0;
/// Seconds to keep trying a host that has answered before.
const KNOWN_HOST_PATIENCE: f64 = 600.0;
/// A failure of at most this many seconds ago holds for the next request too.
const FAILURE_IS_RECENT: f64 = 15.0;
/// After this many seconds without a request, a host's failures count from the next one.
const FAILURE_IS_OLD: f64 = 300.0;

/// The hosts of results that a client has called.
#[derive(Default)]
pub struct ResultHosts {
    hosts: Mutex<HashMap<String, HostContact>>,
}

#[derive(Clone, Default)]
struct HostContact {
    has_answered: bool,
    failing_since: Option<f64>,
    last_failure: Option<(f64, Error)>,
}

impl ResultHosts {
    /// Records that a store answered at this host.
    pub fn record_answer(&self, host: &str) {
        self.change(host, |contact| {
            *contact = HostContact { has_answered: true, ..HostContact::default() }
        });
    }

    /// Records that the host did not answer, or that something else answered for it.
    pub fn record_failure(&self, host: &str, error: &Error, now: f64) {
        self.change(host, |contact| {
            let is_old =
                contact.last_failure.as_ref().is_some_and(|(at, _)| now - at > FAILURE_IS_OLD);
            let since = contact.failing_since.filter(|_| !is_old).unwrap_or(now);
            contact.failing_since = Some(since);
            contact.last_failure = Some((now, error.clone()));
        });
    }

    pub fn has_answered(&self, host: &str) -> bool {
        self.read(host).has_answered
    }

    /// Returns the last error of a host that seems to be blocked, if it is recent enough to make
    /// another request pointless.
    pub fn recent_failure(&self, host: &str, now: f64) -> Option<Error> {
        let contact = self.read(host);
        let (at, error) = contact.last_failure.clone()?;
        (contact.is_blocked(now) && now - at < FAILURE_IS_RECENT).then_some(error)
    }

    /// Returns when to stop trying to fetch a result, if the tries began at `began`.
    pub fn give_up_at(&self, began: f64) -> f64 {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.values().any(|contact| contact.has_answered) {
            return began + KNOWN_HOST_PATIENCE;
        }
        // Other results of the same host may have failed before this one.
        let since = hosts.values().filter_map(|contact| contact.failing_since);
        since.fold(began, f64::min) + NEW_HOST_PATIENCE
    }

    fn read(&self, host: &str) -> HostContact {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).cloned().unwrap_or_default()
    }

    fn change(&self, host: &str, change: impl FnOnce(&mut HostContact)) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        change(hosts.entry(host.to_owned()).or_default());
    }
}

impl HostContact {
    fn is_blocked(&self, now: f64) -> bool {
        !self.has_answered
            && self.failing_since.is_some_and(|since| now - since >= NEW_HOST_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_host_that_never_answered_is_given_up_soon() {
        let hosts = ResultHosts::default();
        let error = Error::new(Kind::Download, "no route");
        assert_eq!(hosts.give_up_at(1000.0), 1060.0);
        hosts.record_failure("a", &error, 1000.0);
        assert!(hosts.recent_failure("a", 1001.0).is_none(), "it may still come up");
        hosts.record_failure("a", &error, 1070.0);
        assert_eq!(hosts.give_up_at(1070.0), 1060.0, "another row need not wait as long again");
        assert!(hosts.recent_failure("a", 1080.0).is_some());
        assert!(hosts.recent_failure("a", 1090.0).is_none(), "it is tried again");
        assert!(hosts.recent_failure("b", 1080.0).is_none());
        hosts.record_failure("a", &error, 9000.0);
        assert_eq!(hosts.give_up_at(9000.0), 9060.0, "old failures do not count");
        hosts.record_answer("a");
        hosts.record_failure("a", &error, 9100.0);
        hosts.record_failure("a", &error, 9300.0);
        assert!(hosts.recent_failure("a", 9300.0).is_none() && hosts.has_answered("a"));
        assert_eq!(hosts.give_up_at(9300.0), 9900.0);
    }
}
