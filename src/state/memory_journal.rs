//! The journal of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::ready;

use super::journal::*;
use super::lost::no_run;
use super::settings::Settings;
use super::store::Reply;
use crate::error::Result;

/// The runs of one quota key, for the life of the process.
pub struct MemoryJournal {
    settings: Settings,
    runs: Mutex<HashMap<String, Book>>,
}

struct Book {
    head: RunHead,
    created: f64,
    stopped: Option<Stop>,
    rows: Vec<Row>,
    /// By machine id, the row that has it.
    owners: HashMap<Arc<str>, u32>,
    workers: HashMap<u64, f64>,
    /// Rows in the order of their outcomes.
    done: Vec<u32>,
}

struct Row {
    machine: Box<str>,
    machine_id: Option<Arc<str>>,
    commands: u32,
    progress: Progress,
    worker: Option<u64>,
    outcome: Option<Box<str>>,
    result: Option<Box<str>>,
}

impl MemoryJournal {
    pub fn new(settings: Settings) -> Self {
        Self { settings, runs: Mutex::default() }
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<String, Book>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> f64 {
        self.settings.now.as_ref().map_or_else(|| self.settings.clock.now(), |now| now())
    }

    /// Forgets runs that began more than `seconds` ago and that nobody is at. Tells how many.
    pub fn prune(&self, seconds: f64) -> u64 {
        let now = self.now();
        let mut runs = self.runs();
        let before = runs.len();
        runs.retain(|_, book| book.created > now - seconds || book.workers.values().any(|until| *until > now));
        (before - runs.len()) as u64
    }

    fn with<T: Send + 'static>(&self, run_id: &str, act: impl FnOnce(&mut Book, f64) -> T) -> Reply<'_, T> {
        let now = self.now();
        let done: Result<T> = self.runs().get_mut(run_id).map(|book| act(book, now)).ok_or_else(|| no_run(run_id));
        ready(done).boxed()
    }
}

impl Book {
    fn new(head: RunHead, rows: Vec<NewRow>, created: f64) -> Self {
        let mut book = Self {
            head,
            created,
            stopped: None,
            rows: Vec::with_capacity(rows.len()),
            owners: HashMap::new(),
            workers: HashMap::new(),
            done: Vec::new(),
        };
        for (at, NewRow { machine, machine_id, commands }) in (0..).zip(rows) {
            let machine_id: Option<Arc<str>> = machine_id.map(Arc::from);
            if let Some(id) = &machine_id {
                book.owners.entry(id.clone()).or_insert(at);
            }
            book.rows.push(Row {
                machine: machine.into(),
                machine_id,
                commands,
                progress: Progress::default(),
                worker: None,
                outcome: None,
                result: None,
            });
        }
        book
    }

    fn row(&mut self, at: u32) -> Option<&mut Row> {
        self.rows.get_mut(at as usize)
    }

    fn state(&self, at: u32) -> Option<RowState> {
        let row = self.rows.get(at as usize)?;
        Some(RowState {
            row: at,
            machine: row.machine.to_string(),
            machine_id: row.machine_id.as_deref().map(str::to_owned),
            commands: row.commands,
            progress: row.progress,
            done: row.outcome.is_some(),
        })
    }

    fn resolve(&mut self, at: u32, machine_id: String) -> u32 {
        let machine_id: Arc<str> = machine_id.into();
        let owner = *self.owners.entry(machine_id.clone()).or_insert(at);
        if let Some(row) = self.row(at) {
            row.machine_id = Some(machine_id);
        }
        owner
    }

    fn is_free(&self, at: u32, worker: u64, now: f64) -> bool {
        let Some(row) = self.rows.get(at as usize) else { return false };
        let attends = |other: u64| self.workers.get(&other).is_some_and(|until| *until > now);
        row.outcome.is_none() && row.worker.is_none_or(|other| other == worker || !attends(other))
    }

    fn finish(&mut self, finished: Finished) -> bool {
        let at = finished.row;
        let Some(row) = self.row(at).filter(|row| row.outcome.is_none()) else { return false };
        row.outcome = Some(finished.outcome.into());
        row.result = finished.result.map(Into::into);
        self.done.push(at);
        true
    }

    fn outcome(&self, at: usize) -> Option<Numbered> {
        let row = *self.done.get(at)?;
        let outcome = self.rows.get(row as usize)?.outcome.as_deref()?.to_owned();
        Some(Numbered { number: at as u64 + 1, row, outcome })
    }
}

impl Journal for MemoryJournal {
    fn begin_run(&self, head: RunHead, rows: Vec<NewRow>) -> Reply<'_, Option<RunHead>> {
        let now = self.now();
        let mut runs = self.runs();
        let known = runs.get(&head.run_id).map(|book| book.head.clone());
        if known.is_none() {
            runs.insert(head.run_id.clone(), Book::new(head, rows, now));
        }
        ready(Ok(known)).boxed()
    }

    fn run<'a>(&'a self, run_id: &'a str) -> Reply<'a, Option<Run>> {
        let run = |book: &Book| Run { head: book.head.clone(), stopped: book.stopped.clone() };
        let run = self.runs().get(run_id).map(run);
        ready(Ok(run)).boxed()
    }

    fn rows<'a>(&'a self, run_id: &'a str, from: u32, count: u32) -> Reply<'a, Vec<RowState>> {
        self.with(run_id, |book, _| (from..from.saturating_add(count)).map_while(|at| book.state(at)).collect())
    }

    fn resolved<'a>(&'a self, run_id: &'a str, machines: Vec<(u32, String)>) -> Reply<'a, Vec<(u32, u32)>> {
        self.with(run_id, |book, _| machines.into_iter().map(|(at, id)| (at, book.resolve(at, id))).collect())
    }

    fn attend<'a>(&'a self, run_id: &'a str, worker: u64, lease: f64) -> Reply<'a, ()> {
        self.with(run_id, |book, now| {
            book.workers.retain(|other, until| *other != worker && *until > now);
            if lease > 0.0 {
                book.workers.insert(worker, now + lease);
            }
        })
    }

    fn claim<'a>(&'a self, run_id: &'a str, worker: u64, candidates: Vec<u32>) -> Reply<'a, Option<RowState>> {
        self.with(run_id, |book, now| {
            let free = candidates.into_iter().find(|at| book.is_free(*at, worker, now))?;
            if let Some(row) = book.row(free) {
                row.worker = Some(worker);
            }
            book.state(free)
        })
    }

    fn progress<'a>(&'a self, run_id: &'a str, row: u32, progress: Progress) -> Reply<'a, ()> {
        self.with(run_id, |book, _| {
            if let Some(row) = book.row(row) {
                row.progress = row.progress.merged(progress);
            }
        })
    }

    fn finish<'a>(&'a self, run_id: &'a str, finished: Finished) -> Reply<'a, bool> {
        self.with(run_id, |book, _| book.finish(finished))
    }

    fn outcomes<'a>(&'a self, run_id: &'a str, after: u64, count: u32) -> Reply<'a, Vec<Numbered>> {
        let from = usize::try_from(after).unwrap_or(usize::MAX);
        self.with(run_id, |book, _| (from..).take(count as usize).map_while(|at| book.outcome(at)).collect())
    }

    fn result<'a>(&'a self, run_id: &'a str, row: u32) -> Reply<'a, Option<String>> {
        self.with(run_id, |book, _| book.row(row)?.result.as_deref().map(str::to_owned))
    }

    fn stop<'a>(&'a self, run_id: &'a str, stop: Stop) -> Reply<'a, ()> {
        self.with(run_id, |book, _| {
            let known = book.stopped.take();
            book.stopped = Some(match known {
                Some(known) => known.or_sterner(stop),
                None => stop,
            });
        })
    }
}
