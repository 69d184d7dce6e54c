//! Where each row of a run stands, as this process sees it. It is small: a run may have very many.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::journey::Step;
use super::order::{Class, Queue, Rank};
use super::shared::Counts;

/// A Pending session is left its slot for this part of the queue time, while others wait for one.
const PATIENCE: f64 = 1.0 / 40.0;
/// How many times longer it is, at the most, for a session that was set aside before.
const LONGEST: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What machine it means is not known yet.
    Unresolved,
    Waiting,
    /// Another worker's.
    Elsewhere,
    InLine,
    Posting,
    Pending,
    Running,
    Succeeded,
    Failed,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    stage: Stage,
    rank: Rank,
}

/// A Pending session of ours.
#[derive(Clone, Copy, Debug)]
struct Open {
    since: f64,
    parked: u32,
    asked: bool,
}

/// A row that failed for now.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub since: f64,
    pub tries: u32,
    /// It rests until then.
    until: f64,
}

#[derive(Default)]
pub struct Table {
    rows: Vec<Row>,
    pub queue: Queue,
    elsewhere: BTreeSet<u32>,
    /// Of those, the one to be asked for next.
    next_elsewhere: u32,
    pending: BTreeMap<u32, Open>,
    troubles: HashMap<u32, Trouble>,
    in_line: usize,
    ended: u32,
    counts: Counts,
}

impl Table {
    pub fn new(rows: u32) -> Self {
        let row = Row { stage: Stage::Unresolved, rank: Rank::of(Class::Unknown) };
        let counts = Counts { waiting: rows, ..Counts::default() };
        Self { rows: vec![row; rows as usize], counts, ..Self::default() }
    }

    fn stage(&self, row: u32) -> Option<Stage> {
        self.rows.get(row as usize).map(|row| row.stage)
    }

    pub fn is_over(&self) -> bool {
        self.ended as usize == self.rows.len()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    pub fn in_line(&self) -> usize {
        self.in_line
    }

    pub fn is_unresolved(&self, row: u32) -> bool {
        self.stage(row) == Some(Stage::Unresolved)
    }

    pub fn has_unresolved(&self) -> bool {
        self.rows.iter().any(|row| row.stage == Stage::Unresolved)
    }

    /// Every row that is neither over nor on its way here, but those that rest after a failure.
    pub fn idle(&self, now: f64) -> VecDeque<u32> {
        let idle = |row: &Row| matches!(row.stage, Stage::Unresolved | Stage::Waiting | Stage::Elsewhere);
        let rests = |at| self.troubles.get(&at).is_some_and(|trouble| now < trouble.until);
        (0..).zip(&self.rows).filter(|(at, row)| idle(row) && !rests(*at)).map(|(at, _)| at).collect()
    }

    fn set(&mut self, at: u32, stage: Stage) {
        let Some(row) = self.rows.get_mut(at as usize) else { return };
        let before = std::mem::replace(&mut row.stage, stage);
        let rank = row.rank;
        if matches!(before, Stage::Succeeded | Stage::Failed) {
            row.stage = before;
            return;
        }
        *self.counts.of(before) -= 1;
        *self.counts.of(stage) += 1;
        match before {
            Stage::Waiting => self.queue.remove(at, rank),
            Stage::Elsewhere => drop(self.elsewhere.remove(&at)),
            Stage::InLine => self.in_line -= 1,
            Stage::Pending => drop(self.pending.remove(&at)),
            _ => {}
        }
        match stage {
            Stage::InLine => self.in_line += 1,
            Stage::Elsewhere => drop(self.elsewhere.insert(at)),
            Stage::Succeeded | Stage::Failed => {
                self.ended += 1;
                self.troubles.remove(&at);
            }
            _ => {}
        }
    }

    /// The row may be submitted now. One that was ready already only changes its rank.
    pub fn ready(&mut self, at: u32, rank: Rank) {
        if !matches!(self.stage(at), Some(Stage::Unresolved | Stage::Waiting | Stage::Elsewhere)) {
            return;
        }
        self.set(at, Stage::Elsewhere);
        self.wait(at, rank);
    }

    /// The row may be submitted at `when`, and is not on its way until then.
    pub fn ready_at(&mut self, at: u32, class: Option<Class>, when: f64) {
        let known = self.rows.get(at as usize).map_or(Rank::of(Class::Unknown), |row| row.rank);
        let rank = class.map_or(known, Rank::of);
        self.set(at, Stage::Waiting);
        if let Some(row) = self.rows.get_mut(at as usize) {
            row.rank = rank;
        }
        self.queue.push_later(at, rank, when);
        if let Some(trouble) = self.troubles.get_mut(&at) {
            trouble.until = when;
        }
    }

    fn wait(&mut self, at: u32, rank: Rank) {
        self.set(at, Stage::Waiting);
        if let Some(row) = self.rows.get_mut(at as usize) {
            row.rank = rank;
        }
        self.queue.push(at, rank);
    }

    pub fn started(&mut self, at: u32) {
        self.set(at, Stage::InLine);
    }

    pub fn elsewhere(&mut self, at: u32) {
        self.set(at, Stage::Elsewhere);
    }

    /// Rows of other workers, from where the last were passed on.
    pub fn others(&self, count: usize) -> Vec<u32> {
        let from = self.next_elsewhere;
        self.elsewhere.range(from..).chain(self.elsewhere.range(..from)).take(count).copied().collect()
    }

    /// None of these was to be had: next time, those after them are asked for.
    pub fn pass(&mut self, others: &[u32]) {
        self.next_elsewhere = others.last().map_or(0, |last| last + 1);
    }

    pub fn step(&mut self, at: u32, step: Step, parked: u32, now: f64) {
        match (step, self.stage(at)) {
            (Step::Admitted, Some(Stage::InLine)) => self.set(at, Stage::Posting),
            (Step::Pending, Some(Stage::InLine | Stage::Posting)) => {
                self.set(at, Stage::Pending);
                self.pending.insert(at, Open { since: now, parked, asked: false });
            }
            (Step::Running, Some(Stage::InLine | Stage::Posting | Stage::Pending)) => self.set(at, Stage::Running),
            (Step::Staying, Some(Stage::Pending)) => {
                self.pending.insert(at, Open { since: now, parked, asked: false });
            }
            _ => {}
        }
    }

    pub fn ended(&mut self, at: u32, ok: bool) {
        self.set(at, if ok { Stage::Succeeded } else { Stage::Failed });
    }

    /// Counts a failure for now, and tells of how many for how long.
    pub fn trouble(&mut self, at: u32, now: f64) -> Trouble {
        let trouble = self.troubles.entry(at).or_insert(Trouble { since: now, tries: 0, until: now });
        trouble.tries += 1;
        *trouble
    }

    pub fn no_trouble(&mut self, at: u32) {
        self.troubles.remove(&at);
    }

    pub fn forget_troubles(&mut self) {
        self.troubles.clear();
    }

    /// Somebody waits for a slot.
    pub fn wants_slots(&self) -> bool {
        self.in_line > 0 || !self.queue.is_empty()
    }

    /// Which Pending sessions give up their slots, so that `free` becomes `wanted`: those that are Pending the longest.
    pub fn choose_parked(&mut self, free: usize, wanted: usize, queue_time: f64, now: f64) -> Vec<u32> {
        let untried = self.queue.best().is_some_and(|class| class < Class::Parked);
        let patience = |open: &Open| {
            let times = if untried { 1 } else { 1_u32.checked_shl(open.parked).unwrap_or(LONGEST).min(LONGEST) };
            queue_time * PATIENCE * f64::from(times)
        };
        let leaving = self.pending.values().filter(|open| open.asked).count();
        let count = wanted.saturating_sub(free + leaving);
        let overdue = |(_, open): &(&u32, &mut Open)| !open.asked && now - open.since >= patience(open);
        let mut overdue: Vec<_> = self.pending.iter_mut().filter(overdue).collect();
        overdue.sort_by(|(_, a), (_, b)| a.since.total_cmp(&b.since));
        overdue.truncate(count);
        overdue
            .into_iter()
            .map(|(row, open)| {
                open.asked = true;
                *row
            })
            .collect()
    }
}

impl Counts {
    fn of(&mut self, stage: Stage) -> &mut u32 {
        match stage {
            Stage::Unresolved | Stage::Waiting | Stage::Elsewhere | Stage::InLine | Stage::Posting => &mut self.waiting,
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
        let mut table = Table::new(4);
        for row in 0..4 {
            table.ready(row, Rank::of(Class::Online));
        }
        for (row, at) in [(0, 0.0), (1, 50.0), (2, 170.0)] {
            table.started(row);
            table.step(row, Step::Admitted, 0, at);
            table.step(row, Step::Pending, 0, at);
        }
        assert_eq!(table.choose_parked(0, 2, 7200.0, 179.0), [0_u32; 0], "three minutes are not over");
        assert_eq!(table.choose_parked(0, 1, 7200.0, 300.0), [0]);
        assert_eq!(table.choose_parked(0, 1, 7200.0, 300.0), [0_u32; 0], "one is leaving");
        assert_eq!(table.choose_parked(0, 3, 7200.0, 301.0), [1]);
        table.step(1, Step::Running, 0, 302.0);
        assert_eq!(table.counts(), Counts { waiting: 1, pending: 2, running: 1, ..Counts::default() });
        table.ended(1, true);
        table.ended(1, false);
        assert_eq!((table.counts().succeeded, table.counts().failed), (1, 0));
    }

    #[test]
    fn the_rows_of_others_are_asked_for_in_turn() {
        let mut table = Table::new(5);
        (0..5).for_each(|row| table.elsewhere(row));
        for asked in [[0, 1], [2, 3], [4, 0], [1, 2]] {
            assert_eq!(table.others(2), asked);
            assert_eq!(table.others(2), asked);
            table.pass(&asked);
        }
    }
}
