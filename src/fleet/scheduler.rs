//! Who goes next. At most two submits stand in line, so that a single `run` never waits behind a whole fleet.

mod completion;
mod enqueue;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::outcome::Outcome;
use super::resolver::Resolution;
use super::row::{ControlRequest, RowEvent, RowExit, RowTask};
use super::row_table::RowTable;
use super::shared::Shared;
use crate::error::{Error, Kind, Result};
use crate::state::run_store::{NumberedOutcome, RowState, StopRequest};
use crate::trace::{self, TraceContext};

const MAX_ADMITTING: usize = 2;
/// Rows that are asked of the journal at once.
const PAGE: u32 = 1000;
/// Rows that one claim may choose of.
const CANDIDATES: usize = 8;
/// Seconds between two looks at what other workers did, and at who holds slots.
const TICK: f64 = 1.0;
/// Seconds between two looks for rows whose worker died.
const TAKEOVER_INTERVAL: f64 = 3.0;
/// Seconds for which a machine id waits for its place in the order.
const MAX_RANKING_WAIT: f64 = 10.0;
/// Rows of a stopped run that are under way at once to their outcomes.
const MAX_STOPPING: usize = 50;

pub struct Scheduler {
    shared: Arc<Shared>,
    table: RowTable,
    active: HashMap<u32, ActiveRow>,
    row_tasks: JoinSet<(u32, RowExit)>,
    events: EventChannel,
    resolutions: UnboundedReceiver<Vec<Resolution>>,
    resolving: JoinSet<()>,
    last_outcome: u64,
    /// Since outcomes were last read.
    has_new_outcomes: bool,
    last_poll: f64,
    next_takeover_at: f64,
    started: f64,
    /// Of a stopped run, rows that are yet to be told.
    stopped_rows: VecDeque<u32>,
}

/// Both ends of what rows under way tell.
type EventChannel = (UnboundedSender<(u32, RowEvent)>, UnboundedReceiver<(u32, RowEvent)>);

struct ActiveRow {
    control: watch::Sender<ControlRequest>,
    state: RowState,
}

impl Scheduler {
    pub fn new(shared: Arc<Shared>) -> Self {
        let started = shared.now();
        Self {
            table: RowTable::new(shared.head.rows),
            active: HashMap::new(),
            row_tasks: JoinSet::new(),
            events: unbounded_channel(),
            resolutions: unbounded_channel().1,
            resolving: JoinSet::new(),
            last_outcome: 0,
            has_new_outcomes: false,
            last_poll: f64::NEG_INFINITY,
            next_takeover_at: started,
            started,
            stopped_rows: VecDeque::new(),
            shared,
        }
    }

    /// Runs until every row has its outcome. Dropped, it leaves what it started to the service, and to the next.
    pub async fn run(mut self) -> Result<()> {
        self.read_rows().await?;
        loop {
            self.poll_journal().await?;
            if self.table.is_over() {
                return Ok(());
            }
            self.table.queue.promote_due(self.shared.now());
            self.start_next().await?;
            self.park_pending_sessions().await?;
            self.publish_counts();
            tokio::select! {
                biased;
                Some((row, event)) = self.events.1.recv() => self.on_row_event(row, event),
                Some(Ok((row, ended))) = self.row_tasks.join_next() => self.on_row_exit(row, ended).await?,
                Some(resolutions) = self.resolutions.recv() => self.on_resolutions(resolutions).await?,
                () = self.shared.sessions.pipeline.clock.sleep(TICK) => {}
            }
            // Nothing new is begun before what ended is told: it would pile up.
            while let Some(Ok((row, ended))) = self.row_tasks.try_join_next() {
                self.on_row_exit(row, ended).await?;
            }
        }
    }

    /// What other workers did, and whether the run was stopped.
    async fn poll_journal(&mut self) -> Result<()> {
        let is_due = self.shared.now() - self.last_poll >= TICK;
        if is_due || std::mem::take(&mut self.has_new_outcomes) {
            self.read_outcomes().await?;
        }
        if !is_due {
            return Ok(());
        }
        self.last_poll = self.shared.now();
        let run = self.shared.run_store().get_run(&self.shared.head.run_id).await?;
        let Some(stop) = run.and_then(|run| run.stopped) else { return Ok(()) };
        let known =
            self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).replace(stop.clone());
        if known.as_ref() != Some(&stop) {
            self.table.clear_all_failures();
            let request = stop_request(&stop);
            self.active.values().for_each(|it| drop(it.control.send_replace(request.clone())));
        }
        if self.stopped_rows.is_empty() {
            self.stopped_rows = self.table.idle_rows(self.last_poll);
        }
        Ok(())
    }

    /// Of a stopped run, the rows that are not on their way: what was started is followed, the rest is told.
    async fn finish_stopped_rows(&mut self) -> Result<()> {
        while self.table.admitting() < MAX_STOPPING
            && let Some(row) = self.stopped_rows.pop_front()
        {
            let (runs, run_id, worker) =
                (self.shared.run_store(), &self.shared.head.run_id, self.shared.worker);
            match runs.claim_row(run_id, worker, vec![row]).await? {
                Some(state) => self.spawn_row(state),
                None => self.table.mark_claimed_elsewhere(row),
            }
        }
        Ok(())
    }

    async fn read_outcomes(&mut self) -> Result<()> {
        loop {
            let page = self
                .shared
                .run_store()
                .list_outcomes(&self.shared.head.run_id, self.last_outcome, PAGE)
                .await?;
            let Some(last) = page.last() else { return Ok(()) };
            self.last_outcome = last.number;
            for NumberedOutcome { row, outcome, .. } in &page {
                let outcome: Outcome = serde_json::from_str(outcome).map_err(|error| {
                    Error::new(
                        Kind::State,
                        format!("the journal's outcome {row} is broken: {error}"),
                    )
                })?;
                self.table.mark_finished(*row, outcome.is_ok());
            }
            self.publish_counts();
            self.shared.worker_state.send_modify(|_| {});
        }
    }

    fn publish_counts(&self) {
        *self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner) = self.table.counts();
    }

    async fn start_next(&mut self) -> Result<()> {
        if self.stop().is_some() {
            return self.finish_stopped_rows().await;
        }
        if self.shared.now() - self.started >= MAX_RANKING_WAIT {
            self.enqueue_unranked().await?;
        }
        while self.table.admitting() < MAX_ADMITTING {
            let mut candidates = self.table.queue.peek(CANDIDATES);
            let is_takeover = candidates.is_empty() && self.shared.now() >= self.next_takeover_at;
            if is_takeover {
                candidates = self.table.takeover_candidates(PAGE as usize);
            }
            if candidates.is_empty() {
                return Ok(());
            }
            let (runs, run_id, worker) =
                (self.shared.run_store(), &self.shared.head.run_id, self.shared.worker);
            let claimed = runs.claim_row(run_id, worker, candidates.clone()).await?;
            let taken = claimed.as_ref().map(|state| state.row);
            candidates
                .iter()
                .take_while(|row| Some(**row) != taken)
                .for_each(|row| self.table.mark_claimed_elsewhere(*row));
            match claimed {
                Some(state) => self.spawn_row(state),
                None => {
                    if is_takeover {
                        self.table.advance_takeover(&candidates);
                    }
                    self.next_takeover_at = self.shared.now() + TAKEOVER_INTERVAL;
                    self.read_outcomes().await?;
                }
            }
        }
        Ok(())
    }

    fn spawn_row(&mut self, state: RowState) {
        let row = state.row;
        let request = self.stop().map_or(ControlRequest::Continue, |stop| stop_request(&stop));
        let (control, control_receiver) = watch::channel(request);
        let task = RowTask {
            shared: self.shared.clone(),
            state: state.clone(),
            control: control_receiver,
            events: self.events.0.clone(),
        };
        self.active.insert(row, ActiveRow { control, state });
        self.table.mark_started(row);
        let trace = TraceContext::current();
        self.row_tasks.spawn(async move { (row, trace::with_trace(trace, task.run()).await) });
    }

    fn stop(&self) -> Option<StopRequest> {
        self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn on_row_event(&mut self, row: u32, event: RowEvent) {
        let parked = self.active.get(&row).map_or(0, |it| it.state.progress.parked);
        self.table.apply_event(row, event, parked, self.shared.now());
        if event == RowEvent::Pending {
            self.table.clear_failures(row);
        }
    }

    /// Pending sessions give way, before those that wait have no slot to go to.
    async fn park_pending_sessions(&mut self) -> Result<()> {
        if !self.table.needs_slot() || self.stop().is_some() {
            return Ok(());
        }
        let limits = &self.shared.sessions.pipeline.options.limits;
        let sessions = limits.sessions as usize;
        let burst = limits.submit.iter().map(|rate| rate.count as usize).min().unwrap_or(sessions);
        let wanted = burst.min(sessions / 4).max(1);
        let free = sessions.saturating_sub(self.shared.quota.store().slots().await?.len());
        for row in
            self.table.choose_rows_to_park(free, wanted, limits.queue_time, self.shared.now())
        {
            if let Some(active) = self.active.get(&row) {
                active.control.send_replace(ControlRequest::Park);
            }
        }
        Ok(())
    }
}

fn stop_request(stop: &StopRequest) -> ControlRequest {
    ControlRequest::Stop(stop.running.then(|| stop.comment.clone()))
}
