//! The scheduler of a run: it claims rows, runs their tasks, parks Pending sessions, and reads what
//! other workers wrote.

mod completion;
mod enqueue;
mod parking;
mod refetching;
mod unreached;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::outcome::Outcome;
use super::protocol::{ControlRequest, RowEvent, RowExit};
use super::resolver::Resolution;
use super::row::RowTask;
use super::row_table::RowTable;
use super::shared::{POLL_INTERVAL, Shared};
use super::sightings::Sighting;
use crate::error::Result;
use crate::state::run_store::{NumberedOutcome, RowState, StopRequest};
use crate::trace::{self, TraceContext};
use unreached::MAX_ROWS_AT_ONCE;

/// Submits of a run in the admission queue at a time. The queue is shared by all callers: with
/// more, a single `run` would wait behind a whole fleet.
const MAX_ADMITTING: usize = 2;
/// Rows or outcomes in one read of the run store.
const PAGE: u32 = 1000;
/// Rows that one claim may choose from.
const CANDIDATES: usize = 8;
/// Seconds between two searches for rows whose worker died.
const TAKEOVER_INTERVAL: f64 = 3.0;
/// Seconds to wait for the list of machines before machines are queued without their priorities.
const MAX_RANKING_WAIT: f64 = 10.0;
/// Rows of a stopped run that are being ended at a time.
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
    /// This worker wrote outcomes after the last read.
    has_new_outcomes: bool,
    last_poll: f64,
    next_takeover_at: f64,
    started: f64,
    is_unranked_enqueued: bool,
    /// Rows of a stopped run that have no outcome yet.
    stopped_rows: VecDeque<u32>,
    /// Outcomes whose results are to be fetched again.
    refetches: VecDeque<NumberedOutcome>,
    /// Those that are being fetched, by row.
    refetching: HashMap<u32, NumberedOutcome>,
    /// Reads the list of machines for rows whose machines were not reached.
    listing: JoinSet<Result<Vec<Sighting>>>,
    /// Rows whose machines were seen again, and that have not been submitted since.
    seen_again: BTreeSet<u32>,
}

/// Both ends of the channel for the events of the row tasks.
type EventChannel = (UnboundedSender<(u32, RowEvent)>, UnboundedReceiver<(u32, RowEvent)>);

struct ActiveRow {
    control: watch::Sender<ControlRequest>,
    state: RowState,
}

impl Scheduler {
    pub fn new(shared: Arc<Shared>) -> Self {
        let started = shared.now();
        Self {
            table: RowTable::new(shared.header.rows),
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
            is_unranked_enqueued: false,
            stopped_rows: VecDeque::new(),
            refetches: VecDeque::new(),
            refetching: HashMap::new(),
            listing: JoinSet::new(),
            seen_again: BTreeSet::new(),
            shared,
        }
    }

    /// Runs until every row has its outcome. If it is dropped, its sessions continue at the service
    /// and the next worker follows them.
    pub async fn run(mut self) -> Result<()> {
        self.read_rows().await?;
        loop {
            self.poll_run_store().await?;
            if self.table.is_over() {
                return Ok(());
            }
            self.start_refetches()?;
            self.table.queue.promote_due(self.shared.now());
            self.start_next().await?;
            self.watch_unreached().await?;
            self.park_pending_sessions().await?;
            self.publish_counts();
            tokio::select! {
                biased;
                Some((row, event)) = self.events.1.recv() => self.on_row_event(row, event),
                Some(Ok((row, exit))) = self.row_tasks.join_next() => {
                    self.on_row_exit(row, exit).await?;
                }
                Some(resolutions) = self.resolutions.recv() => {
                    self.on_resolutions(resolutions).await?;
                }
                Some(Ok(found)) = self.listing.join_next() => self.on_sightings(found).await?,
                () = self.shared.sessions.pipeline.clock.sleep(POLL_INTERVAL) => {}
            }
            // All ended rows get their outcomes before new rows start: results would pile up in
            // memory otherwise.
            while let Some(Ok((row, exit))) = self.row_tasks.try_join_next() {
                self.on_row_exit(row, exit).await?;
            }
        }
    }

    /// Reads new outcomes, and whether the run was stopped.
    async fn poll_run_store(&mut self) -> Result<()> {
        let is_due = self.shared.now() - self.last_poll >= POLL_INTERVAL;
        if is_due || std::mem::take(&mut self.has_new_outcomes) {
            self.read_outcomes().await?;
        }
        if !is_due {
            return Ok(());
        }
        self.last_poll = self.shared.now();
        let run = self.shared.run_store().get_run(&self.shared.header.run_id).await?;
        let Some(run) = run else { return Ok(()) };
        // Another process may have resumed the run with another time.
        *self.shared.until.lock().unwrap_or_else(PoisonError::into_inner) = run.head.until;
        let Some(stop) = run.stopped else { return Ok(()) };
        let known =
            self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).replace(stop.clone());
        // A second stop may add that running sessions are cancelled.
        if known.as_ref() != Some(&stop) {
            self.table.clear_all_failures();
            let request = stop_request(&stop);
            for active in self.active.values() {
                active.control.send_replace(request.clone());
            }
        }
        if self.stopped_rows.is_empty() {
            self.stopped_rows = self.table.idle_rows(self.last_poll);
        }
        Ok(())
    }

    /// Ends the idle rows of a stopped run: a session that was submitted is followed, and the other
    /// rows end as `not_submitted`.
    async fn finish_stopped_rows(&mut self) -> Result<()> {
        while self.table.admitting() < MAX_STOPPING
            && let Some(row) = self.stopped_rows.pop_front()
        {
            let (runs, run_id, worker) =
                (self.shared.run_store(), &self.shared.header.run_id, self.shared.worker);
            match runs.claim_row(run_id, worker, vec![row]).await? {
                Some(state) if state.is_unreached() => self.finish_unreached(row).await?,
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
                .list_outcomes(&self.shared.header.run_id, self.last_outcome, PAGE)
                .await?;
            let Some(last) = page.last() else {
                if self.shared.known_outcomes.set(self.last_outcome).is_ok() {
                    self.shared.worker_state.send_modify(|_| {});
                }
                return Ok(());
            };
            self.last_outcome = last.number;
            for numbered in page {
                let outcome = Outcome::from_store(&numbered)?;
                if self.shared.needs_refetch(numbered.number, &outcome) {
                    self.table.mark_running(numbered.row);
                    self.refetches.push_back(numbered);
                } else {
                    self.table.mark_finished(numbered.row, outcome.is_ok());
                }
            }
            self.publish_counts();
            // Wakes the loops over the outcomes.
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
        let has_waited = self.shared.now() - self.started >= MAX_RANKING_WAIT;
        if has_waited && !self.is_unranked_enqueued {
            self.enqueue_unranked().await?;
        }
        let mut put_aside = 0;
        while self.table.admitting() < MAX_ADMITTING && put_aside < MAX_ROWS_AT_ONCE {
            let mut candidates = self.table.queue.peek(CANDIDATES);
            let is_takeover = candidates.is_empty() && self.shared.now() >= self.next_takeover_at;
            if is_takeover {
                candidates = self.table.takeover_candidates(PAGE as usize);
            }
            if candidates.is_empty() {
                return Ok(());
            }
            let (runs, run_id, worker) =
                (self.shared.run_store(), &self.shared.header.run_id, self.shared.worker);
            let claimed = runs.claim_row(run_id, worker, candidates.clone()).await?;
            // The claim takes the first free row, so other workers have those before it.
            let taken = claimed.as_ref().map(|state| state.row);
            candidates
                .iter()
                .take_while(|row| Some(**row) != taken)
                .for_each(|row| self.table.mark_claimed_elsewhere(*row));
            match claimed {
                Some(state) if state.is_unreached() => {
                    put_aside += 1;
                    self.retry_unreached(state).await?;
                }
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
        let (control, mut control_receiver) = watch::channel(request);
        // A receiver counts the first value as seen, but a stop must reach the session too.
        control_receiver.mark_changed();
        let task = RowTask {
            shared: self.shared.clone(),
            pending_since: self.shared.now(),
            state: state.clone(),
            control: control_receiver,
            events: self.events.0.clone(),
        };
        self.active.insert(row, ActiveRow { control, state });
        self.table.mark_started(row);
        // A task does not inherit the trace of the code that spawns it.
        let trace = TraceContext::current();
        self.row_tasks.spawn(async move { (row, trace::with_trace(trace, task.run()).await) });
    }

    fn stop(&self) -> Option<StopRequest> {
        self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn on_row_event(&mut self, row: u32, event: RowEvent) {
        let parked = self.active.get(&row).map_or(0, |active| active.state.progress.parked);
        self.table.apply_event(row, event, parked, self.shared.now());
        // The submit succeeded.
        if event == RowEvent::Pending {
            self.table.clear_failures(row);
        }
    }
}

fn stop_request(stop: &StopRequest) -> ControlRequest {
    ControlRequest::Stop(stop.running.then(|| stop.comment.clone()))
}
