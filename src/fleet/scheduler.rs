//! Who goes next. At most two submits stand in line, so that a single `run` never waits behind a whole fleet.

mod arriving;
mod placing;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::journey::{Ended, Journey, Step, Wish};
use super::outcome::Outcome;
use super::resolve::Finding;
use super::shared::Shared;
use super::table::Table;
use crate::error::{Error, Kind, Result};
use crate::state::journal::{Numbered, RowState, Stop};
use crate::trace::{self, Trace};

const IN_LINE: usize = 2;
/// Rows that are asked of the journal at once.
const PAGE: u32 = 1000;
/// Rows that one claim may choose of.
const CANDIDATES: usize = 8;
/// Seconds between two looks at what other workers did, and at who holds slots.
const TICK: f64 = 1.0;
/// Seconds between two looks for rows whose worker died.
const INHERIT: f64 = 3.0;
/// Seconds for which a machine id waits for its place in the order.
const UNORDERED: f64 = 10.0;
/// Rows of a stopped run that are under way at once to their outcomes.
const LEAVING: usize = 50;

pub struct Scheduler {
    shared: Arc<Shared>,
    table: Table,
    under_way: HashMap<u32, UnderWay>,
    journeys: JoinSet<(u32, Ended)>,
    steps: Steps,
    findings: UnboundedReceiver<Vec<Finding>>,
    resolving: JoinSet<()>,
    seen: u64,
    /// Since outcomes were last read.
    has_finished: bool,
    looked_at: f64,
    inherit_at: f64,
    started: f64,
    /// Of a stopped run, rows that are yet to be told.
    leaving: VecDeque<u32>,
}

/// Both ends of what rows under way tell.
type Steps = (UnboundedSender<(u32, Step)>, UnboundedReceiver<(u32, Step)>);

struct UnderWay {
    wishes: watch::Sender<Wish>,
    state: RowState,
}

impl Scheduler {
    pub fn new(shared: Arc<Shared>) -> Self {
        let started = shared.now();
        Self {
            table: Table::new(shared.head.rows),
            under_way: HashMap::new(),
            journeys: JoinSet::new(),
            steps: unbounded_channel(),
            findings: unbounded_channel().1,
            resolving: JoinSet::new(),
            seen: 0,
            has_finished: false,
            looked_at: f64::NEG_INFINITY,
            inherit_at: started,
            started,
            leaving: VecDeque::new(),
            shared,
        }
    }

    /// Runs until every row has its outcome. Dropped, it leaves what it started to the service, and to the next.
    pub async fn run(mut self) -> Result<()> {
        self.read_rows().await?;
        loop {
            self.look_around().await?;
            if self.table.is_over() {
                return Ok(());
            }
            self.table.queue.refill(self.shared.now());
            self.start_next().await?;
            self.make_room().await?;
            self.publish_counts();
            tokio::select! {
                biased;
                Some((row, step)) = self.steps.1.recv() => self.stepped(row, step),
                Some(Ok((row, ended))) = self.journeys.join_next() => self.arrived(row, ended).await?,
                Some(findings) = self.findings.recv() => self.resolved(findings).await?,
                () = self.shared.sessions.pipeline.clock.sleep(TICK) => {}
            }
            // Nothing new is begun before what ended is told: it would pile up.
            while let Some(Ok((row, ended))) = self.journeys.try_join_next() {
                self.arrived(row, ended).await?;
            }
        }
    }

    /// What other workers did, and whether the run was stopped.
    async fn look_around(&mut self) -> Result<()> {
        let is_due = self.shared.now() - self.looked_at >= TICK;
        if is_due || std::mem::take(&mut self.has_finished) {
            self.read_outcomes().await?;
        }
        if !is_due {
            return Ok(());
        }
        self.looked_at = self.shared.now();
        let run = self.shared.journal()?.run(&self.shared.head.run_id).await?;
        let Some(stop) = run.and_then(|run| run.stopped) else { return Ok(()) };
        let known = self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).replace(stop.clone());
        if known.as_ref() != Some(&stop) {
            self.table.forget_troubles();
            let wish = wish_of(&stop);
            self.under_way.values().for_each(|it| drop(it.wishes.send_replace(wish.clone())));
        }
        if self.leaving.is_empty() {
            self.leaving = self.table.idle(self.looked_at);
        }
        Ok(())
    }

    /// Of a stopped run, the rows that are not on their way: what was started is followed, the rest is told.
    async fn leave_out(&mut self) -> Result<()> {
        while self.table.in_line() < LEAVING
            && let Some(row) = self.leaving.pop_front()
        {
            let (journal, run_id, worker) = (self.shared.journal()?, &self.shared.head.run_id, self.shared.worker);
            match journal.claim(run_id, worker, vec![row]).await? {
                Some(state) => self.start(state),
                None => self.table.elsewhere(row),
            }
        }
        Ok(())
    }

    async fn read_outcomes(&mut self) -> Result<()> {
        loop {
            let page = self.shared.journal()?.outcomes(&self.shared.head.run_id, self.seen, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            self.seen = last.number;
            for Numbered { row, outcome, .. } in &page {
                let outcome: Outcome = serde_json::from_str(outcome).map_err(|error| {
                    Error::new(Kind::State, format!("the journal's outcome {row} is broken: {error}"))
                })?;
                self.table.ended(*row, outcome.is_ok());
            }
            self.publish_counts();
            self.shared.standing.send_modify(|_| {});
        }
    }

    fn publish_counts(&self) {
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.table.counts();
    }

    async fn start_next(&mut self) -> Result<()> {
        if self.stop().is_some() {
            return self.leave_out().await;
        }
        if self.shared.now() - self.started >= UNORDERED {
            self.order_no_longer().await?;
        }
        while self.table.in_line() < IN_LINE {
            let mut candidates = self.table.queue.first(CANDIDATES);
            let inherits = candidates.is_empty() && self.shared.now() >= self.inherit_at;
            if inherits {
                candidates = self.table.others(PAGE as usize);
            }
            if candidates.is_empty() {
                return Ok(());
            }
            let (journal, run_id, worker) = (self.shared.journal()?, &self.shared.head.run_id, self.shared.worker);
            let claimed = journal.claim(run_id, worker, candidates.clone()).await?;
            let taken = claimed.as_ref().map(|state| state.row);
            candidates.iter().take_while(|row| Some(**row) != taken).for_each(|row| self.table.elsewhere(*row));
            match claimed {
                Some(state) => self.start(state),
                None => {
                    if inherits {
                        self.table.pass(&candidates);
                    }
                    self.inherit_at = self.shared.now() + INHERIT;
                    self.read_outcomes().await?;
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, state: RowState) {
        let row = state.row;
        let wish = self.stop().map_or(Wish::GoOn, |stop| wish_of(&stop));
        let (wishes, wished) = watch::channel(wish);
        let journey =
            Journey { shared: self.shared.clone(), state: state.clone(), wishes: wished, steps: self.steps.0.clone() };
        self.under_way.insert(row, UnderWay { wishes, state });
        self.table.started(row);
        let trace = Trace::current();
        self.journeys.spawn(async move { (row, trace::under(trace, journey.go()).await) });
    }

    fn stop(&self) -> Option<Stop> {
        self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stepped(&mut self, row: u32, step: Step) {
        let parked = self.under_way.get(&row).map_or(0, |it| it.state.progress.parked);
        self.table.step(row, step, parked, self.shared.now());
        if step == Step::Pending {
            self.table.no_trouble(row);
        }
    }

    /// Pending sessions give way, before those that wait have no slot to go to.
    async fn make_room(&mut self) -> Result<()> {
        if !self.table.wants_slots() || self.stop().is_some() {
            return Ok(());
        }
        let limits = &self.shared.sessions.pipeline.options.limits;
        let sessions = limits.sessions as usize;
        let burst = limits.submit.iter().map(|rate| rate.count as usize).min().unwrap_or(sessions);
        let wanted = burst.min(sessions / 4).max(1);
        let free = sessions.saturating_sub(self.shared.quota.store().slots().await?.len());
        for row in self.table.choose_parked(free, wanted, limits.queue_time, self.shared.now()) {
            if let Some(under_way) = self.under_way.get(&row) {
                under_way.wishes.send_replace(Wish::Park);
            }
        }
        Ok(())
    }
}

fn wish_of(stop: &Stop) -> Wish {
    Wish::Stop(stop.running.then(|| stop.comment.clone()))
}
