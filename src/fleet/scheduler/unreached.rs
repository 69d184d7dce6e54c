//! Rows whose machines were not reached. They hold no slot and no task until the service has seen
//! their machines again, or until the time for that is over.

use super::{PAGE, Scheduler};
use crate::error::Result;
use crate::fleet::outcome::Outcome;
use crate::fleet::sightings::{self, LostMachine, Sighting};
use crate::session::SessionResult;
use crate::state::run_store::{FinishedRow, RowProgress, RowState, Unreached};
use crate::trace::{self, LOG_TARGET, TraceContext};

/// Between two listings of the machines, as a fraction of `Limits.queue_time`: an hour of two.
const LISTING_FRACTION: f64 = 0.5;
/// Rows that get their outcomes, or are put aside, before other work is done.
pub(super) const MAX_ROWS_AT_ONCE: usize = 500;

impl Scheduler {
    /// Stores what happened to a row, and puts it aside.
    pub(super) async fn set_aside(
        &mut self,
        outcome: &Outcome,
        result: Option<&SessionResult>,
        unreached: Unreached,
    ) -> Result<()> {
        self.shared.record_unreached(outcome, result, unreached).await?;
        self.table.mark_unreached(outcome.row);
        let now = self.shared.now();
        // The machine was not there a moment ago.
        self.set_next_listing(|next| next.or(Some(now + self.listing_interval())));
        Ok(())
    }

    /// Handles a row that was put aside, once this worker holds it: submits it again if its machine
    /// was seen.
    pub(super) async fn retry_unreached(&mut self, state: RowState) -> Result<()> {
        let row = state.row;
        if !self.shared.may_try_again() {
            return self.finish_unreached(row).await;
        }
        if !self.seen_again.remove(&row) {
            self.table.mark_unreached(row);
            return Ok(());
        }
        // Before the submit: from now on the row has another session, with an intent of its own.
        let parked = state.progress.parked + 1;
        let progress = RowProgress { parked, parking: false, ..state.progress };
        let (runs, run_id, worker) =
            (self.shared.run_store(), &self.shared.header.run_id, self.shared.worker);
        runs.record_progress(run_id, row, progress).await?;
        // This process may have slept since its claim, and another one may have moved the row to
        // another machine id. From now on the id does not change (see `move_row`).
        match runs.claim_row(run_id, worker, vec![row]).await? {
            Some(state) => self.spawn_row(state),
            None => self.table.mark_claimed_elsewhere(row),
        }
        Ok(())
    }

    /// Ends rows whose time is over, and lists the machines of the others when that is due.
    pub(super) async fn watch_unreached(&mut self) -> Result<()> {
        if !self.table.has_unreached() {
            return Ok(());
        }
        if !self.shared.may_try_again() {
            return self.finish_all_unreached().await;
        }
        let now = self.shared.now();
        let next = *self.shared.next_listing();
        if self.listing.is_empty() && next.is_none_or(|next| now >= next) {
            self.set_next_listing(|_| Some(now + self.listing_interval()));
            self.start_listing().await?;
        }
        Ok(())
    }

    fn listing_interval(&self) -> f64 {
        self.shared.sessions.pipeline.options.limits.queue_time * LISTING_FRACTION
    }

    fn set_next_listing(&self, change: impl FnOnce(Option<f64>) -> Option<f64>) {
        let mut next = self.shared.next_listing();
        *next = change(*next);
    }

    async fn start_listing(&mut self) -> Result<()> {
        let (mut lost, mut from) = (Vec::new(), 0);
        while from < self.shared.header.rows {
            let runs = self.shared.run_store();
            let page = runs.list_rows(&self.shared.header.run_id, from, PAGE).await?;
            from += PAGE;
            for state in page.into_iter().filter(|state| self.table.is_unreached(state.row)) {
                let (Some(machine_id), Some(it)) = (state.machine_id, state.unreached) else {
                    continue;
                };
                let (row, name, since) = (state.row, it.name, it.since);
                lost.push(LostMachine { row, machine_id, name, since });
            }
        }
        let finding = sightings::find(self.shared.sessions.pipeline.clone(), lost);
        // A task does not inherit the trace of the code that spawns it.
        self.listing.spawn(trace::with_trace(TraceContext::current(), finding));
        Ok(())
    }

    pub(super) async fn on_sightings(&mut self, found: Result<Vec<Sighting>>) -> Result<()> {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                log::warn!(
                    target: LOG_TARGET,
                    "run {} could not list the machines that were not reached, and does so later: \
                     {error}",
                    self.shared.header.run_id
                );
                return Ok(());
            }
        };
        for sighting in found {
            self.on_sighting(sighting).await?;
        }
        Ok(())
    }

    async fn on_sighting(&mut self, sighting: Sighting) -> Result<()> {
        let Sighting { row, machine_id, seen } = sighting;
        let (runs, run_id, worker) =
            (self.shared.run_store(), &self.shared.header.run_id, self.shared.worker);
        let claimed = runs.claim_row(run_id, worker, vec![row]).await?;
        // Another worker holds the row, or has submitted it again.
        let Some(state) = claimed.filter(RowState::is_unreached) else { return Ok(()) };
        if state.machine_id.as_ref() != Some(&machine_id) {
            let parked = state.progress.parked;
            let moved = runs.move_row(run_id, row, parked, machine_id.clone()).await?;
            let Some(owner) = moved else { return Ok(()) };
            if owner != row {
                return self.finish_duplicate(row, owner).await;
            }
            log::info!(
                target: LOG_TARGET,
                "{} of run {run_id} has a new record: {machine_id}", state.machine
            );
        }
        if let Some(priority) = seen {
            self.seen_again.insert(row);
            self.table.mark_ready(row, priority);
        }
        Ok(())
    }

    async fn finish_all_unreached(&mut self) -> Result<()> {
        for row in self.table.unreached_rows(MAX_ROWS_AT_ONCE) {
            let (runs, run_id, worker) =
                (self.shared.run_store(), &self.shared.header.run_id, self.shared.worker);
            match runs.claim_row(run_id, worker, vec![row]).await? {
                Some(state) if state.is_unreached() => self.finish_unreached(row).await?,
                // Another worker has submitted the row again.
                _ => self.table.mark_claimed_elsewhere(row),
            }
        }
        Ok(())
    }

    /// Gives a row the outcome of its last session.
    pub(super) async fn finish_unreached(&mut self, row: u32) -> Result<()> {
        let (runs, run_id) = (self.shared.run_store(), &self.shared.header.run_id);
        let Some(last) = runs.get_last_outcome(run_id, row).await? else { return Ok(()) };
        let outcome = serde_json::from_str::<Outcome>(&last.outcome);
        if runs.finish_row(run_id, FinishedRow { row, ..last }).await?
            && let Ok(outcome) = outcome
        {
            outcome.log(run_id);
        }
        self.has_new_outcomes = true;
        Ok(())
    }
}
