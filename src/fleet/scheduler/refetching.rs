//! Fetches results again that could not be fetched before this process resumed the run.

use super::Scheduler;
use crate::error::Result;
use crate::fleet::outcome::Outcome;
use crate::fleet::refetch;
use crate::session::SessionResult;
use crate::trace::{self, TraceContext};

/// Rows whose results are fetched again at a time.
const MAX_REFETCHING: usize = 8;

impl Scheduler {
    pub(super) fn start_refetches(&mut self) -> Result<()> {
        while self.refetching.len() < MAX_REFETCHING
            && let Some(before) = self.refetches.pop_front()
        {
            let (row, outcome) = (before.row, Outcome::from_store(&before)?);
            self.refetching.insert(row, before);
            let fetching = refetch::run(self.shared.clone(), outcome);
            // A task does not inherit the trace of the code that spawns it.
            let trace = TraceContext::current();
            self.row_tasks.spawn(async move { (row, trace::with_trace(trace, fetching).await) });
        }
        Ok(())
    }

    /// Puts the new outcome in place of the old one.
    pub(super) async fn on_refetched(
        &mut self,
        row: u32,
        newer: Option<(Outcome, SessionResult)>,
    ) -> Result<()> {
        let Some(before) = self.refetching.remove(&row) else { return Ok(()) };
        let mut is_ok = false;
        if let Some((outcome, result)) = newer {
            let number = before.number;
            is_ok = outcome.is_ok();
            if !self.shared.replace(before, &outcome, &result).await? {
                // Another process was first.
                let (runs, run_id) = (self.shared.run_store(), &self.shared.header.run_id);
                let stored = runs.list_outcomes(run_id, number - 1, 1).await?;
                is_ok = match stored.first() {
                    Some(stored) => Outcome::from_store(stored)?.is_ok(),
                    None => false,
                };
            }
        }
        self.table.mark_finished(row, is_ok);
        self.publish_counts();
        self.shared.mark_refetched(row);
        Ok(())
    }
}
