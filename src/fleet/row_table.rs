//! Where each row of a run stands, as this process sees it. It is small: a run may have very many.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::priority::{Priority, PriorityClass, Queue};
use super::row::RowEvent;
use super::shared::Counts;

/// A Pending session is left its slot for this part of the queue time, while others wait for one.
const PARK_AFTER_FRACTION: f64 = 1.0 / 40.0;
/// How many times longer it is, at the most, for a session that was set aside before.
const MAX_PARK_BACKOFF: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What machine it means is not known yet.
    Unresolved,
    Waiting,
    /// Another worker's.
    ClaimedElsewhere,
    Admitting,
    Posting,
    Pending,
    Running,
    Succeeded,
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    stage: Stage,
    priority: Priority,
}

/// A Pending session of ours.
#[derive(Clone, Copy, Debug)]
struct PendingSession {
    since: f64,
    parked: u32,
    park_requested: bool,
}

/// A row that failed for now.
#[derive(Clone, Copy, Debug)]
pub struct RetryState {
    pub since: f64,
    pub tries: u32,
    /// It rests until then.
    until: f64,
}

#[derive(Default)]
pub struct RowTable {
    rows: Vec<Row>,
    pub queue: Queue,
    claimed_elsewhere: BTreeSet<u32>,
    /// Of those, the one to be asked for next.
    next_takeover: u32,
    pending: BTreeMap<u32, PendingSession>,
    retries: HashMap<u32, RetryState>,
    admitting: usize,
    finished: u32,
    counts: Counts,
}

impl RowTable {
    pub fn new(rows: u32) -> Self {
        let row = Row {
            stage: Stage::Unresolved,
            priority: Priority::from_class(PriorityClass::Unknown),
        };
        let counts = Counts { waiting: rows, ..Counts::default() };
        Self { rows: vec![row; rows as usize], counts, ..Self::default() }
    }

    fn stage(&self, row: u32) -> Option<Stage> {
        self.rows.get(row as usize).map(|row| row.stage)
    }

    pub fn is_over(&self) -> bool {
        self.finished as usize == self.rows.len()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn admitting(&self) -> usize {
        self.admitting
    }

    pub fn is_unresolved(&self, row: u32) -> bool {
        self.stage(row) == Some(Stage::Unresolved)
    }

    pub fn has_unresolved(&self) -> bool {
        self.rows.iter().any(|row| row.stage == Stage::Unresolved)
    }

    /// Every row that is neither over nor on its way here, but those that rest after a failure.
    pub fn idle_rows(&self, now: f64) -> VecDeque<u32> {
        let idle = |row: &Row| {
            matches!(row.stage, Stage::Unresolved | Stage::Waiting | Stage::ClaimedElsewhere)
        };
        let rests = |at| self.retries.get(&at).is_some_and(|retry| now < retry.until);
        (0..)
            .zip(&self.rows)
            .filter(|(at, row)| idle(row) && !rests(*at))
            .map(|(at, _)| at)
            .collect()
    }

    fn set_stage(&mut self, at: u32, stage: Stage) {
        let Some(row) = self.rows.get_mut(at as usize) else { return };
        let before = std::mem::replace(&mut row.stage, stage);
        let priority = row.priority;
        if matches!(before, Stage::Succeeded | Stage::Failed) {
            row.stage = before;
            return;
        }
        *self.counts.count_mut(before) -= 1;
        *self.counts.count_mut(stage) += 1;
        match before {
            Stage::Waiting => self.queue.remove(at, priority),
            Stage::ClaimedElsewhere => drop(self.claimed_elsewhere.remove(&at)),
            Stage::Admitting => self.admitting -= 1,
            Stage::Pending => drop(self.pending.remove(&at)),
            _ => {}
        }
        match stage {
            Stage::Admitting => self.admitting += 1,
            Stage::ClaimedElsewhere => drop(self.claimed_elsewhere.insert(at)),
            Stage::Succeeded | Stage::Failed => {
                self.finished += 1;
                self.retries.remove(&at);
            }
            _ => {}
        }
    }

    /// The row may be submitted now. One that was ready already only changes its priority.
    pub fn mark_ready(&mut self, at: u32, priority: Priority) {
        if !matches!(
            self.stage(at),
            Some(Stage::Unresolved | Stage::Waiting | Stage::ClaimedElsewhere)
        ) {
            return;
        }
        self.set_stage(at, Stage::ClaimedElsewhere);
        self.enqueue(at, priority);
    }

    /// The row may be submitted at `when`, and is not on its way until then.
    pub fn delay_until(&mut self, at: u32, class: Option<PriorityClass>, when: f64) {
        let known = self
            .rows
            .get(at as usize)
            .map_or(Priority::from_class(PriorityClass::Unknown), |row| row.priority);
        let priority = class.map_or(known, Priority::from_class);
        self.set_stage(at, Stage::Waiting);
        if let Some(row) = self.rows.get_mut(at as usize) {
            row.priority = priority;
        }
        self.queue.push_delayed(at, priority, when);
        if let Some(retry) = self.retries.get_mut(&at) {
            retry.until = when;
        }
    }

    fn enqueue(&mut self, at: u32, priority: Priority) {
        self.set_stage(at, Stage::Waiting);
        if let Some(row) = self.rows.get_mut(at as usize) {
            row.priority = priority;
        }
        self.queue.push(at, priority);
    }

    pub fn mark_started(&mut self, at: u32) {
        self.set_stage(at, Stage::Admitting);
    }

    pub fn mark_claimed_elsewhere(&mut self, at: u32) {
        self.set_stage(at, Stage::ClaimedElsewhere);
    }

    /// Rows of other workers, from where the last were passed on.
    pub fn takeover_candidates(&self, count: usize) -> Vec<u32> {
        let from = self.next_takeover;
        self.claimed_elsewhere
            .range(from..)
            .chain(self.claimed_elsewhere.range(..from))
            .take(count)
            .copied()
            .collect()
    }

    /// None of these was to be had: next time, those after them are asked for.
    pub fn advance_takeover(&mut self, others: &[u32]) {
        self.next_takeover = others.last().map_or(0, |last| last + 1);
    }

    pub fn apply_event(&mut self, at: u32, event: RowEvent, parked: u32, now: f64) {
        match (event, self.stage(at)) {
            (RowEvent::Admitted, Some(Stage::Admitting)) => self.set_stage(at, Stage::Posting),
            (RowEvent::Pending, Some(Stage::Admitting | Stage::Posting)) => {
                self.set_stage(at, Stage::Pending);
                self.pending
                    .insert(at, PendingSession { since: now, parked, park_requested: false });
            }
            (RowEvent::Running, Some(Stage::Admitting | Stage::Posting | Stage::Pending)) => {
                self.set_stage(at, Stage::Running)
            }
            (RowEvent::ParkFailed, Some(Stage::Pending)) => {
                self.pending
                    .insert(at, PendingSession { since: now, parked, park_requested: false });
            }
            _ => {}
        }
    }

    pub fn mark_finished(&mut self, at: u32, ok: bool) {
        self.set_stage(at, if ok { Stage::Succeeded } else { Stage::Failed });
    }

    /// Counts a failure for now, and tells of how many for how long.
    pub fn record_failure(&mut self, at: u32, now: f64) -> RetryState {
        let retry =
            self.retries.entry(at).or_insert(RetryState { since: now, tries: 0, until: now });
        retry.tries += 1;
        *retry
    }

    pub fn clear_failures(&mut self, at: u32) {
        self.retries.remove(&at);
    }

    pub fn clear_all_failures(&mut self) {
        self.retries.clear();
    }

    /// Somebody waits for a slot.
    pub fn needs_slot(&self) -> bool {
        self.admitting > 0 || !self.queue.is_empty()
    }

    /// Which Pending sessions give up their slots, so that `free` becomes `wanted`: those that are Pending the longest.
    pub fn choose_rows_to_park(
        &mut self,
        free: usize,
        wanted: usize,
        queue_time: f64,
        now: f64,
    ) -> Vec<u32> {
        let untried = self.queue.best_class().is_some_and(|class| class < PriorityClass::Parked);
        let park_after = |session: &PendingSession| {
            let times = if untried {
                1
            } else {
                1_u32.checked_shl(session.parked).unwrap_or(MAX_PARK_BACKOFF).min(MAX_PARK_BACKOFF)
            };
            queue_time * PARK_AFTER_FRACTION * f64::from(times)
        };
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

impl Counts {
    fn count_mut(&mut self, stage: Stage) -> &mut u32 {
        match stage {
            Stage::Unresolved
            | Stage::Waiting
            | Stage::ClaimedElsewhere
            | Stage::Admitting
            | Stage::Posting => &mut self.waiting,
            Stage::Pending => &mut self.pending,
            Stage::Running => &mut self.running,
            Stage::Succeeded => &mut self.succeeded,
            Stage::Failed => &mut self.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pending_gives_up_its_slot_and_each_is_asked_once() {
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
            "three minutes are not over"
        );
        assert_eq!(table.choose_rows_to_park(0, 1, 7200.0, 300.0), [0]);
        assert_eq!(table.choose_rows_to_park(0, 1, 7200.0, 300.0), [0_u32; 0], "one is leaving");
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

    #[test]
    fn the_rows_of_others_are_asked_for_in_turn() {
        let mut table = RowTable::new(5);
        (0..5).for_each(|row| table.mark_claimed_elsewhere(row));
        for asked in [[0, 1], [2, 3], [4, 0], [1, 2]] {
            assert_eq!(table.takeover_candidates(2), asked);
            assert_eq!(table.takeover_candidates(2), asked);
            table.advance_takeover(&asked);
        }
    }
}
