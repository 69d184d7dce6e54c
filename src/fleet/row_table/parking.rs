//! The choice of sessions to park.

use super::RowTable;
use crate::fleet::priority::PriorityClass;

/// While other rows wait for a slot, a Pending session keeps its slot for this fraction of
/// `Limits.queue_time`: three minutes of two hours.
const PARK_AFTER_FRACTION: f64 = 1.0 / 40.0;
/// That time doubles with each earlier parking of the row, up to this factor.
const MAX_PARK_BACKOFF: u32 = 16;

/// A session of this process that is Pending.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingSession {
    pub(super) since: f64,
    /// Earlier sessions of the row that were parked.
    pub(super) parked: u32,
    pub(super) park_requested: bool,
}

impl RowTable {
    /// Chooses the sessions to park, so that `free` slots become `wanted`: those that have been
    /// Pending the longest. Each is chosen once.
    pub fn choose_rows_to_park(
        &mut self,
        free: usize,
        wanted: usize,
        queue_time: f64,
        now: f64,
    ) -> Vec<u32> {
        // The longer times only apply while nothing but parked rows wait: an untried machine may be
        // online and goes first.
        let untried = self.queue.best_class().is_some_and(|class| class < PriorityClass::Parked);
        let park_after = |session: &PendingSession| {
            let times = if untried {
                1
            } else {
                1_u32.checked_shl(session.parked).unwrap_or(MAX_PARK_BACKOFF).min(MAX_PARK_BACKOFF)
            };
            queue_time * PARK_AFTER_FRACTION * f64::from(times)
        };
        // These slots become free without another request.
        let leaving = self.pending.values().filter(|session| session.park_requested).count();
        let count = wanted.saturating_sub(free + leaving);
        let overdue = |(_, session): &(&u32, &mut PendingSession)| {
            !session.park_requested && now - session.since >= park_after(session)
        };
        let mut overdue: Vec<_> = self.pending.iter_mut().filter(overdue).collect();
        overdue.sort_by(|(_, a), (_, b)| a.since.total_cmp(&b.since));
        overdue.truncate(count);
        overdue
            .into_iter()
            .map(|(row, session)| {
                session.park_requested = true;
                *row
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::priority::Priority;
    use crate::fleet::protocol::RowEvent;
    use crate::fleet::stage::Counts;

    #[test]
    fn the_longest_pending_session_is_parked_and_each_is_chosen_once() {
        let mut table = RowTable::new(4);
        for row in 0..4 {
            table.mark_ready(row, Priority::from_class(PriorityClass::Online));
        }
        for (row, at) in [(0, 0.0), (1, 50.0), (2, 170.0)] {
            table.mark_started(row);
            table.apply_event(row, RowEvent::Admitted, 0, at);
            table.apply_event(row, RowEvent::Pending, 0, at);
        }
        assert_eq!(
            table.choose_rows_to_park(0, 2, 7200.0, 179.0),
            [0_u32; 0],
            "three minutes have not passed"
        );
        assert_eq!(table.choose_rows_to_park(0, 1, 7200.0, 300.0), [0]);
        assert_eq!(
            table.choose_rows_to_park(0, 1, 7200.0, 300.0),
            [0_u32; 0],
            "one is being parked already"
        );
        assert_eq!(table.choose_rows_to_park(0, 3, 7200.0, 301.0), [1]);
        table.apply_event(1, RowEvent::Running, 0, 302.0);
        assert_eq!(
            table.counts(),
            Counts { waiting: 1, pending: 2, running: 1, ..Counts::default() }
        );
        table.mark_finished(1, true);
        table.mark_finished(1, false);
        assert_eq!((table.counts().succeeded, table.counts().failed), (1, 0));
    }
}
