//! One fleet run in memory.

use std::collections::HashMap;
use std::sync::Arc;

use crate::state::run_store::*;

pub struct RunRecord {
    pub head: RunHeader,
    pub created: f64,
    pub stopped: Option<StopRequest>,
    pub rows: Vec<RowRecord>,
    /// By machine id, the first row that named it.
    owners: HashMap<Arc<str>, u32>,
    /// By worker, the end of its lease.
    pub workers: HashMap<u64, f64>,
    /// Rows in the order their outcomes came. None: the outcome was withdrawn.
    done: Vec<Option<u32>>,
    /// How many rows are in `done`, and how many of them are ok.
    done_count: u32,
    ok_count: u32,
}

pub struct RowRecord {
    machine: Box<str>,
    machine_id: Option<Arc<str>>,
    commands: u32,
    pub progress: RowProgress,
    pub worker: Option<u64>,
    outcome: Option<Box<str>>,
    pub result: Option<Box<str>>,
    /// With the outcome if the machine is never reached.
    unreached: Option<Box<(Unreached, String)>>,
}

impl RunRecord {
    pub fn new(head: RunHeader, rows: Vec<NewRow>, created: f64) -> Self {
        let mut record = Self {
            head,
            created,
            stopped: None,
            rows: Vec::with_capacity(rows.len()),
            owners: HashMap::new(),
            workers: HashMap::new(),
            done: Vec::new(),
            done_count: 0,
            ok_count: 0,
        };
        for (at, NewRow { machine, machine_id, commands }) in (0..).zip(rows) {
            let machine_id: Option<Arc<str>> = machine_id.map(Arc::from);
            if let Some(id) = &machine_id {
                // The first row that names a machine owns it.
                record.owners.entry(id.clone()).or_insert(at);
            }
            record.rows.push(RowRecord {
                machine: machine.into(),
                machine_id,
                commands,
                progress: RowProgress::default(),
                worker: None,
                outcome: None,
                result: None,
                unreached: None,
            });
        }
        record
    }

    pub fn row(&mut self, at: u32) -> Option<&mut RowRecord> {
        self.rows.get_mut(at as usize)
    }

    pub fn state(&self, at: u32) -> Option<RowState> {
        let row = self.rows.get(at as usize)?;
        Some(RowState {
            row: at,
            machine: row.machine.to_string(),
            machine_id: row.machine_id.as_deref().map(str::to_owned),
            commands: row.commands,
            progress: row.progress,
            done: row.outcome.is_some(),
            unreached: row.unreached.as_ref().map(|it| it.0.clone()),
        })
    }

    /// Sets the machine of a row. Returns the first row that named the machine.
    pub fn resolve(&mut self, at: u32, machine_id: String) -> u32 {
        let machine_id: Arc<str> = machine_id.into();
        let owner = *self.owners.entry(machine_id.clone()).or_insert(at);
        if let Some(row) = self.row(at) {
            row.machine_id = Some(machine_id);
        }
        owner
    }

    /// Sets another machine of a row, if it was not tried again since `parked` was read.
    pub fn move_row(&mut self, at: u32, parked: u32, machine_id: String) -> Option<u32> {
        let is_same = |row: &&RowRecord| row.outcome.is_none() && row.progress.parked == parked;
        self.rows.get(at as usize).filter(is_same)?;
        Some(self.resolve(at, machine_id))
    }

    /// Returns whether the worker may claim the row.
    pub fn is_free(&self, at: u32, worker: u64, now: f64) -> bool {
        let Some(row) = self.rows.get(at as usize) else { return false };
        let is_alive = |other: u64| self.workers.get(&other).is_some_and(|until| *until > now);
        // A worker may claim its own row again, after a lost answer.
        row.outcome.is_none() && row.worker.is_none_or(|other| other == worker || !is_alive(other))
    }

    /// Stores the outcome, unless the row has one.
    pub fn finish(&mut self, finished: FinishedRow) -> bool {
        let (at, is_ok) = (finished.row, is_ok_outcome(&finished.outcome));
        let Some(row) = self.row(at).filter(|row| row.outcome.is_none()) else { return false };
        row.outcome = Some(finished.outcome.into());
        row.result = finished.result.map(Into::into);
        row.unreached = None;
        self.done.push(Some(at));
        self.done_count += 1;
        self.ok_count += u32::from(is_ok);
        true
    }

    /// Stores another outcome, unless the row has not `before` any more.
    pub fn replace(&mut self, before: &NumberedOutcome, finished: FinishedRow) -> bool {
        let is_same = |row: &&mut RowRecord| row.outcome.as_deref() == Some(&before.outcome);
        let is_ok = is_ok_outcome(&finished.outcome);
        let Some(row) = self.row(finished.row).filter(is_same) else { return false };
        row.outcome = Some(finished.outcome.into());
        row.result = finished.result.map(Into::into);
        self.ok_count += u32::from(is_ok);
        self.ok_count -= u32::from(is_ok_outcome(&before.outcome));
        true
    }

    /// Records that the machine of a row was not reached, unless the row is over.
    pub fn record_unreached(&mut self, unreached: Unreached, last: FinishedRow) {
        let is_open = |row: &&mut RowRecord| row.outcome.is_none();
        let Some(row) = self.row(last.row).filter(is_open) else { return };
        row.unreached = Some(Box::new((unreached, last.outcome)));
        row.result = last.result.map(Into::into);
    }

    pub fn last_outcome(&self, at: u32) -> Option<FinishedRow> {
        let row = self.rows.get(at as usize)?;
        let (_, outcome) = row.unreached.as_deref()?;
        let result = row.result.as_deref().map(str::to_owned);
        Some(FinishedRow { row: at, outcome: outcome.clone(), result })
    }

    /// Withdraws the outcome, unless the row has not `before` any more.
    pub fn withdraw(&mut self, before: NumberedOutcome, unreached: Unreached) -> bool {
        let is_same = |row: &&mut RowRecord| row.outcome.as_deref() == Some(&before.outcome);
        let Some(row) = self.row(before.row).filter(is_same) else { return false };
        row.outcome = None;
        let is_ok = is_ok_outcome(&before.outcome);
        row.unreached = Some(Box::new((unreached, before.outcome)));
        let index = usize::try_from(before.number - 1).unwrap_or(usize::MAX);
        if let Some(done) = self.done.get_mut(index) {
            *done = None;
        }
        self.done_count -= 1;
        self.ok_count -= u32::from(is_ok);
        true
    }

    /// Returns at most `count` outcomes with numbers greater than `after`.
    pub fn outcomes(&self, after: u64, count: u32) -> Vec<NumberedOutcome> {
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        let numbered = (1..).zip(&self.done).skip(from).filter_map(|(number, row)| {
            let row = (*row)?;
            let outcome = self.rows.get(row as usize)?.outcome.as_deref()?.to_owned();
            Some(NumberedOutcome { number, row, outcome })
        });
        numbered.take(count as usize).collect()
    }

    pub fn is_over(&self) -> bool {
        self.done_count as usize == self.rows.len()
    }

    pub fn summary(&self) -> RunSummary {
        RunSummary {
            run_id: self.head.run_id.clone(),
            comment: self.head.comment.clone(),
            created: self.created,
            machines: self.head.rows,
            done: self.done_count,
            ok: self.ok_count,
            cancelled: self.stopped.is_some(),
        }
    }
}
