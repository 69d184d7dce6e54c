//! The stage of every row of a run, as this process sees it.

mod parking;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::priority::{Priority, PriorityClass, Queue};
use super::protocol::RowEvent;
use super::stage::{Counts, Stage};
use parking::PendingSession;

// A run may have 100,000 rows, so a row is a few bytes here. The rest is read from the run store
// when the row is claimed.
#[derive(Clone, Copy, Debug)]
struct Row {
    stage: Stage,
    priority: Priority,
}

/// The failures of a row since its last success.
#[derive(Clone, Copy, Debug)]
pub struct RowFailures {
    pub since: f64,
    pub tries: u32,
    /// The row is not tried again before this time.
    until: f64,
}

#[derive(Default)]
pub struct RowTable {
    rows: Vec<Row>,
    pub queue: Queue,
    claimed_elsewhere: BTreeSet<u32>,
    /// Where the next search for rows of dead workers starts.
    next_takeover: u32,
    pending: BTreeMap<u32, PendingSession>,
    failures: HashMap<u32, RowFailures>,
    admitting: usize,
    unreached: usize,
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

    /// Returns the rows that are neither over nor running here, except those that wait after a
    /// failure.
    pub fn idle_rows(&self, now: f64) -> VecDeque<u32> {
        let idle = |row: &Row| {
            matches!(
                row.stage,
                Stage::Unresolved | Stage::Waiting | Stage::Unreached | Stage::ClaimedElsewhere
            )
        };
        let backs_off = |at| self.failures.get(&at).is_some_and(|it| now < it.until);
        (0..)
            .zip(&self.rows)
            .filter(|(at, row)| idle(row) && !backs_off(*at))
            .map(|(at, _)| at)
            .collect()
    }

    fn set_stage(&mut self, at: u32, stage: Stage) {
        let Some(row) = self.rows.get_mut(at as usize) else { return };
        let before = std::mem::replace(&mut row.stage, stage);
        let priority = row.priority;
        if matches!(before, Stage::Succeeded | Stage::Failed) {
            // An outcome is final: a late event must not change the stage again.
            row.stage = before;
            return;
        }
        *self.counts.count_mut(before) -= 1;
        *self.counts.count_mut(stage) += 1;
        match before {
            Stage::Waiting => self.queue.remove(at, priority),
            Stage::Unreached => self.unreached -= 1,
            Stage::ClaimedElsewhere => drop(self.claimed_elsewhere.remove(&at)),
            Stage::Admitting => self.admitting -= 1,
            Stage::Pending => drop(self.pending.remove(&at)),
            _ => {}
        }
        match stage {
            Stage::Admitting => self.admitting += 1,
            Stage::Unreached => self.unreached += 1,
            Stage::ClaimedElsewhere => drop(self.claimed_elsewhere.insert(at)),
            Stage::Succeeded | Stage::Failed => {
                self.finished += 1;
                self.failures.remove(&at);
            }
            _ => {}
        }
    }

    /// Puts the row into the queue. A row that is queued already only changes its priority.
    pub fn mark_ready(&mut self, at: u32, priority: Priority) {
        if !matches!(
            self.stage(at),
            Some(Stage::Unresolved | Stage::Waiting | Stage::Unreached | Stage::ClaimedElsewhere)
        ) {
            return;
        }
        // The queue finds a row by its priority, so the row leaves it before the priority changes.
        self.set_stage(at, Stage::ClaimedElsewhere);
        self.enqueue(at, priority);
    }

    /// Puts the row into the queue at the time `when`.
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
        if let Some(failures) = self.failures.get_mut(&at) {
            failures.until = when;
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

    pub fn mark_running(&mut self, at: u32) {
        self.set_stage(at, Stage::Running);
    }

    /// Marks a row that waits until its machine is seen again. It is in no queue meanwhile.
    pub fn mark_unreached(&mut self, at: u32) {
        self.set_stage(at, Stage::Unreached);
    }

    pub fn has_unreached(&self) -> bool {
        self.unreached > 0
    }

    pub fn is_unreached(&self, row: u32) -> bool {
        self.stage(row) == Some(Stage::Unreached)
    }

    /// Returns some of the rows that wait until their machines are seen again.
    pub fn unreached_rows(&self, count: usize) -> Vec<u32> {
        let rows = (0..).zip(&self.rows).filter(|(_, row)| row.stage == Stage::Unreached);
        rows.take(count).map(|(at, _)| at).collect()
    }

    pub fn mark_claimed_elsewhere(&mut self, at: u32) {
        self.set_stage(at, Stage::ClaimedElsewhere);
    }

    /// Returns rows of other workers to try to claim, in a round robin.
    pub fn takeover_candidates(&self, count: usize) -> Vec<u32> {
        let from = self.next_takeover;
        self.claimed_elsewhere
            .range(from..)
            .chain(self.claimed_elsewhere.range(..from))
            .take(count)
            .copied()
            .collect()
    }

    /// Moves on after these candidates: none of them could be claimed.
    pub fn advance_takeover(&mut self, candidates: &[u32]) {
        self.next_takeover = candidates.last().map_or(0, |last| last + 1);
    }

    /// Records how far a row task has come. An event that comes too late changes nothing.
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
                // From now: otherwise the same session would be chosen again immediately.
                self.pending
                    .insert(at, PendingSession { since: now, parked, park_requested: false });
            }
            _ => {}
        }
    }

    pub fn mark_finished(&mut self, at: u32, ok: bool) {
        self.set_stage(at, if ok { Stage::Succeeded } else { Stage::Failed });
    }

    /// Counts a failure of the row, and returns all since its last success.
    pub fn record_failure(&mut self, at: u32, now: f64) -> RowFailures {
        let failures =
            self.failures.entry(at).or_insert(RowFailures { since: now, tries: 0, until: now });
        failures.tries += 1;
        *failures
    }

    pub fn clear_failures(&mut self, at: u32) {
        self.failures.remove(&at);
    }

    pub fn clear_all_failures(&mut self) {
        self.failures.clear();
    }

    /// Returns whether a row waits for a slot.
    pub fn needs_slot(&self) -> bool {
        self.admitting > 0 || !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takeover_candidates_come_in_a_round_robin() {
        let mut table = RowTable::new(5);
        (0..5).for_each(|row| table.mark_claimed_elsewhere(row));
        for expected in [[0, 1], [2, 3], [4, 0], [1, 2]] {
            assert_eq!(table.takeover_candidates(2), expected);
            assert_eq!(table.takeover_candidates(2), expected);
            table.advance_takeover(&expected);
        }
    }
}
