//! Decides whether and when a call is retried. A budget limits retries while the service is down.

use std::sync::atomic::{AtomicU32, Ordering};

/// How one attempt failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttemptFailure {
    /// A response with this status, and the seconds of its `Retry-After` header.
    Status(u16, Option<f64>),
    /// No byte of the request was sent: the connection failed.
    NotSent,
    /// The request was sent, but its response did not arrive.
    NoResponse,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Try again after this many seconds.
    Retry {
        after: f64,
    },
    GiveUp,
}

/// The numbers that the decision uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, not counting those after a 429. The default is 4.
    pub attempts: u32,
    /// The longest first backoff in seconds; it doubles with each attempt. The default is 0.5.
    pub base: f64,
    /// The longest backoff in seconds. The default is 20.
    pub cap: f64,
    /// Seconds to wait after a 429 without `Retry-After`: the service's shortest rate window. The
    /// default is 60.
    pub window: f64,
    /// The longest wait in seconds after a 429 without `Retry-After`. The default is 300.
    pub window_cap: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 4, base: 0.5, cap: 20.0, window: 60.0, window_cap: 300.0 }
    }
}

/// Decides what to do after attempt number `attempt`, counted from 1. `jitter` is a random number
/// from 0 to 1.
///
/// A 429 did nothing, so it is retried for every method, without a limit: the caller's timeout
/// limits it. A 401 is not retried here, because it needs a new token.
pub fn decide(
    attempt: u32,
    outcome: &AttemptFailure,
    idempotent: bool,
    policy: &RetryPolicy,
    jitter: f64,
) -> Decision {
    let backoff = full_jitter(attempt, policy, jitter);
    let after = match *outcome {
        AttemptFailure::Status(429, retry_after) => {
            return Decision::Retry { after: throttle_delay(attempt, retry_after, policy, jitter) };
        }
        _ if attempt >= policy.attempts => return Decision::GiveUp,
        // The connection may have been an old one that the server closed: retry immediately.
        AttemptFailure::NotSent if attempt <= 1 => 0.0,
        AttemptFailure::NotSent => full_jitter(attempt - 1, policy, jitter),
        AttemptFailure::NoResponse if idempotent => backoff,
        AttemptFailure::Status(408 | 500 | 502 | 503 | 504, retry_after) if idempotent => {
            valid_seconds(retry_after).unwrap_or(0.0).max(backoff)
        }
        AttemptFailure::NoResponse | AttemptFailure::Status(..) => return Decision::GiveUp,
    };
    Decision::Retry { after }
}

/// Returns a random part of the backoff: clients that failed together must not retry together.
fn full_jitter(attempt: u32, policy: &RetryPolicy, jitter: f64) -> f64 {
    backoff_cap(attempt, policy) * clamp_jitter(jitter)
}

fn backoff_cap(attempt: u32, policy: &RetryPolicy) -> f64 {
    (policy.base * power_of_two(attempt)).min(policy.cap)
}

fn throttle_delay(
    attempt: u32,
    retry_after: Option<f64>,
    policy: &RetryPolicy,
    jitter: f64,
) -> f64 {
    match valid_seconds(retry_after) {
        Some(retry_after) if attempt <= 1 => retry_after,
        // Repeated `Retry-After: 0` must not become a tight loop.
        Some(retry_after) => retry_after.max(backoff_cap(attempt, policy)),
        // Before the window ends, a retry would fail again. So the jitter is added to the window.
        None => {
            let spread = (policy.window / 2.0 * power_of_two(attempt))
                .min(policy.window_cap - policy.window);
            policy.window + spread.max(0.0) * clamp_jitter(jitter)
        }
    }
}

/// Returns 1, 2, 4, ... for attempt 1, 2, 3, ...
fn power_of_two(attempt: u32) -> f64 {
    f64::from(1_u32 << attempt.saturating_sub(1).min(16))
}

fn clamp_jitter(jitter: f64) -> f64 {
    if jitter.is_nan() { 0.5 } else { jitter.clamp(0.0, 1.0) }
}

fn valid_seconds(retry_after: Option<f64>) -> Option<f64> {
    retry_after.filter(|seconds| seconds.is_finite() && *seconds >= 0.0)
}

/// A budget for all retries of a client. Each retry costs tokens, and each success returns one. If
/// the service is down, the budget is soon spent and calls are sent only once. Rare failures are
/// still retried.
#[derive(Debug)]
pub struct RetryBudget {
    capacity: u32,
    left: AtomicU32,
}

impl RetryBudget {
    /// The capacity of the AWS SDKs' retry token bucket: 100 retries without any success.
    pub const CAPACITY: u32 = 500;
    const COST: u32 = 5;
    /// A lost response costs more, because it took its whole timeout.
    const COST_NO_RESPONSE: u32 = 10;

    pub const fn new(capacity: u32) -> Self {
        Self { capacity, left: AtomicU32::new(capacity) }
    }

    /// Returns `decision`, or `GiveUp` if the budget is spent. A retry after a 429 costs nothing,
    /// because it waits as long as the service asks.
    pub fn spend(&self, outcome: &AttemptFailure, decision: Decision) -> Decision {
        let cost = match (decision, outcome) {
            (Decision::GiveUp, _) | (_, AttemptFailure::Status(429, _)) => return decision,
            (_, AttemptFailure::NoResponse) => Self::COST_NO_RESPONSE,
            _ => Self::COST,
        };
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost));
        if spent.is_ok() { decision } else { Decision::GiveUp }
    }

    /// Returns a token to the budget after a success.
    pub fn refill(&self) {
        let more = |left: u32| (left < self.capacity).then_some(left + 1);
        // Fails only if the budget is full already.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(Self::CAPACITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { attempts: 4, base: 0.5, cap: 20.0, window: 60.0, window_cap: 300.0 };

    fn after(attempt: u32, outcome: AttemptFailure, idempotent: bool, jitter: f64) -> Option<f64> {
        match decide(attempt, &outcome, idempotent, &POLICY, jitter) {
            Decision::Retry { after } => Some(after),
            Decision::GiveUp => None,
        }
    }

    /// Returns the statuses that are retried, as ranges: "408 429 502-504".
    fn ranges(is_retried: impl Fn(u16) -> bool) -> String {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for status in (100..=599).filter(|&status| is_retried(status)) {
            match runs.last_mut() {
                Some((_, end)) if *end + 1 == status => *end = status,
                _ => runs.push((status, status)),
            }
        }
        let show = |(from, to)| if from == to { format!("{from}") } else { format!("{from}-{to}") };
        runs.into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_statuses_that_are_retried() {
        let retried = |attempt, idempotent| {
            ranges(move |status| {
                after(attempt, AttemptFailure::Status(status, None), idempotent, 0.5).is_some()
            })
        };
        //         attempt  idempotent        the statuses
        let table = [
            (1, true, "408 429 500 502-504"),
            (3, true, "408 429 500 502-504"),
            (4, true, "429"),
            (1, false, "429"),
            (3, false, "429"),
            (4, false, "429"),
        ];
        for (attempt, idempotent, statuses) in table {
            assert_eq!(
                retried(attempt, idempotent),
                statuses,
                "attempt {attempt}, idempotent {idempotent}"
            );
        }
    }

    #[test]
    fn failures_without_a_response() {
        use AttemptFailure::{NoResponse, NotSent};
        for idempotent in [true, false] {
            let waits: Vec<_> =
                (1..=4).map(|attempt| after(attempt, NotSent, idempotent, 1.0)).collect();
            assert_eq!(waits, [Some(0.0), Some(0.5), Some(1.0), None]);
        }
        let waits: Vec<_> = (1..=4).map(|attempt| after(attempt, NoResponse, true, 1.0)).collect();
        assert_eq!(waits, [Some(0.5), Some(1.0), Some(2.0), None]);
        assert_eq!(after(1, NoResponse, false, 1.0), None);
    }

    #[test]
    fn a_429_waits_for_retry_after() {
        let delay =
            |attempt, seconds| after(attempt, AttemptFailure::Status(429, seconds), false, 1.0);
        assert_eq!(delay(1, Some(8.0)), Some(8.0));
        assert_eq!(delay(9, Some(3600.0)), Some(3600.0));
        assert_eq!(
            (delay(1, Some(0.0)), delay(3, Some(0.0)), delay(99, Some(0.0))),
            (Some(0.0), Some(2.0), Some(20.0))
        );
        assert_eq!(
            (delay(1, None), delay(2, None), delay(99, None)),
            (Some(90.0), Some(120.0), Some(300.0))
        );
        assert_eq!(after(1, AttemptFailure::Status(429, None), true, 0.0), Some(60.0));
        for invalid in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(delay(1, Some(invalid)), delay(1, None));
        }
    }

    #[test]
    fn a_503_waits_for_retry_after_but_at_least_for_the_backoff() {
        assert_eq!(after(1, AttemptFailure::Status(503, Some(7.0)), true, 1.0), Some(7.0));
        assert_eq!(after(3, AttemptFailure::Status(503, Some(0.1)), true, 1.0), Some(2.0));
        assert_eq!(after(1, AttemptFailure::Status(503, Some(7.0)), false, 1.0), None);
    }

    #[test]
    fn jitter_is_full_and_invalid_numbers_are_clamped() {
        assert_eq!(after(2, AttemptFailure::NoResponse, true, 0.0), Some(0.0));
        assert_eq!(after(2, AttemptFailure::NoResponse, true, 0.25), Some(0.25));
        for invalid in [f64::NAN, f64::INFINITY, -3.0, 7.0] {
            assert!(
                (0.0..=1.0).contains(&after(2, AttemptFailure::NoResponse, true, invalid).unwrap())
            );
        }
        let patient = RetryPolicy { attempts: u32::MAX, ..POLICY };
        assert_eq!(
            decide(u32::MAX - 1, &AttemptFailure::NoResponse, true, &patient, 1.0),
            Decision::Retry { after: 20.0 }
        );
        assert_eq!(after(0, AttemptFailure::NotSent, false, 1.0), Some(0.0));
    }

    #[test]
    fn the_budget_limits_the_retries_while_the_service_is_down() {
        let budget = RetryBudget::default();
        let retry = Decision::Retry { after: 1.0 };
        let down = AttemptFailure::Status(503, None);
        let retries = (0..1000).filter(|_| budget.spend(&down, retry) == retry).count();
        assert_eq!(retries, 100);
        assert_eq!(budget.spend(&AttemptFailure::NoResponse, retry), Decision::GiveUp);
        assert_eq!(budget.spend(&AttemptFailure::Status(429, None), retry), retry);
        (0..4).for_each(|_| budget.refill());
        assert_eq!(budget.spend(&down, retry), Decision::GiveUp);
        budget.refill();
        assert_eq!(budget.spend(&down, retry), retry);
        (0..2000).for_each(|_| budget.refill());
        assert_eq!(
            (0..1000).filter(|_| budget.spend(&AttemptFailure::NoResponse, retry) == retry).count(),
            50
        );
    }
}
