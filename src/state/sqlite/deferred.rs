//! The writes that nobody waits for. They are done with the next transaction, or else alone after a
//! delay.

use std::time::{Duration, Instant};

use crate::state::store::DeferredWrite;

/// Other processes may wait for what these writes free.
const DELAY: Duration = Duration::from_millis(5);
/// Nobody waits for the end of a call, because it still counts for one window length. So the next
/// admission has time to carry it. A process that is killed earlier leaves it to the lease.
const CALL_END_DELAY: Duration = Duration::from_secs(1);
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Once this many writes are queued, they are done without further delay.
const BATCH: usize = 64;
/// The maximum number of writes kept while the file can't be written. The leases end what is
/// dropped.
const MAX_WRITES: usize = 10_000;

#[derive(Default)]
pub struct DeferredWrites {
    queued: Vec<(DeferredWrite, Instant)>,
    /// When to do the writes.
    pub due: Option<Instant>,
}

impl DeferredWrites {
    /// Queues a write that was asked for at `since`. Returns whether the writes are to be done now.
    pub fn push(&mut self, write: DeferredWrite, since: Instant) -> bool {
        let delay = match write {
            DeferredWrite::EndCall(..) => CALL_END_DELAY,
            DeferredWrite::ReleaseSlot(..) | DeferredWrite::ReleaseLease(..) => DELAY,
        };
        if self.queued.len() < MAX_WRITES {
            self.queued.push((write, since));
        }
        let due = since + delay;
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        self.queued.len() == BATCH
    }

    /// Returns the writes, and for how many seconds each was queued at `until`.
    pub fn with_ages(&self, until: Instant) -> impl Iterator<Item = (&DeferredWrite, f64)> {
        self.queued.iter().map(move |(write, queued)| {
            (write, until.saturating_duration_since(*queued).as_secs_f64())
        })
    }

    /// Forgets the writes, which were committed.
    pub fn clear(&mut self) {
        self.queued.clear();
        self.due = None;
    }

    /// Keeps the writes for another attempt.
    pub fn retry_later(&mut self) {
        if !self.queued.is_empty() {
            self.due = Some(Instant::now() + RETRY_DELAY);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;
    use crate::state::store::Ticket;

    #[test]
    fn a_slot_is_freed_soon_whatever_else_is_queued() {
        let ticket = Ticket { owner: 1, number: 0 };
        let end = DeferredWrite::EndCall(Operation::GetMachineAction, ticket);
        let release = DeferredWrite::ReleaseSlot("m".to_owned(), ticket);
        for order in [[end.clone(), release.clone()], [release, end.clone()]] {
            let mut writes = DeferredWrites::default();
            order.into_iter().for_each(|write| assert!(!writes.push(write, Instant::now())));
            assert!(writes.due.unwrap() <= Instant::now() + DELAY);
        }
        let mut writes = DeferredWrites::default();
        let before = Instant::now();
        writes.push(end, before);
        assert!(writes.due.unwrap() >= before + CALL_END_DELAY);
        assert_eq!(writes.with_ages(before).next().unwrap().1, 0.0, "an end is never too early");
        assert!(writes.with_ages(Instant::now() + DELAY).next().unwrap().1 >= 0.005);
    }

    #[test]
    fn a_full_batch_is_written_at_once() {
        let mut writes = DeferredWrites::default();
        let end = || {
            let ticket = Ticket { owner: 1, number: 0 };
            DeferredWrite::EndCall(Operation::GetMachineAction, ticket)
        };
        let now: Vec<bool> = (0..BATCH).map(|_| writes.push(end(), Instant::now())).collect();
        assert_eq!(now.iter().position(|now| *now), Some(BATCH - 1));
        writes.clear();
        writes.retry_later();
        assert_eq!(writes.due, None, "nothing is left to write");
    }
}
