//! Queueing of the rows, once their machines are known. A machine that several rows name runs once,
//! for the first of them.

use std::collections::BTreeMap;

use tokio::sync::mpsc::unbounded_channel;

use super::{PAGE, Scheduler};
use crate::error::{Error, Result};
use crate::fleet::priority::{Priority, PriorityClass};
use crate::fleet::resolver::{LookupRequest, Resolution, Resolver};
use crate::model::is_machine_id;
use crate::state::run_store::RowState;

impl Scheduler {
    /// Reads the rows from the run store, and starts the lookup of their machines.
    pub(super) async fn read_rows(&mut self) -> Result<()> {
        let (sender, resolutions) = unbounded_channel();
        self.resolutions = resolutions;
        let mut lookups = Vec::new();
        let mut from = 0;
        while from < self.shared.header.rows {
            let page =
                self.shared.run_store().list_rows(&self.shared.header.run_id, from, PAGE).await?;
            from += PAGE;
            for state in page.into_iter().filter(|state| !state.done) {
                // This row may have an open session, which holds a slot until it is followed.
                if state.progress.first_submit.is_some() && state.machine_id.is_some() {
                    self.table.mark_ready(state.row, Priority::from_class(PriorityClass::Resumed));
                } else {
                    let RowState { row, machine, machine_id, .. } = state;
                    lookups.push(LookupRequest { row, machine, machine_id });
                }
            }
        }
        let pipeline = self.shared.sessions.pipeline.clone();
        let resolver = Resolver::new(pipeline, sender, lookups, self.shared.names.clone());
        self.resolving.spawn(resolver.run());
        Ok(())
    }

    /// Queues the rows whose machine ids are known, without their priorities.
    pub(super) async fn enqueue_unranked(&mut self) -> Result<()> {
        self.is_unranked_enqueued = true;
        let mut from = 0;
        while from < self.shared.header.rows && self.table.has_unresolved() {
            let page =
                self.shared.run_store().list_rows(&self.shared.header.run_id, from, PAGE).await?;
            let unresolved = page.into_iter().filter(|state| self.table.is_unresolved(state.row));
            let with_id = unresolved.filter_map(|state| {
                Some((state.row, (state.machine_id?, Priority::from_class(PriorityClass::Unknown))))
            });
            self.enqueue_resolved(with_id.collect()).await?;
            from += PAGE;
        }
        Ok(())
    }

    pub(super) async fn on_resolutions(&mut self, resolutions: Vec<Resolution>) -> Result<()> {
        let mut known = BTreeMap::new();
        for resolution in resolutions {
            match resolution {
                Resolution::Resolved(row, machine_id, priority) => {
                    drop(known.insert(row, (machine_id, priority)))
                }
                Resolution::Unresolvable(row, error) => self.on_unresolvable(row, error).await?,
                Resolution::Failed(error) => return Err(error),
            }
        }
        self.enqueue_resolved(known).await
    }

    /// Queues the rows that own their machines, and ends the duplicates.
    async fn enqueue_resolved(&mut self, known: BTreeMap<u32, (String, Priority)>) -> Result<()> {
        let machines =
            known.iter().map(|(row, (machine_id, _))| (*row, machine_id.clone())).collect();
        let owners =
            self.shared.run_store().record_machines(&self.shared.header.run_id, machines).await?;
        for (row, owner) in owners {
            let Some((_, priority)) = known.get(&row) else { continue };
            if row == owner {
                self.table.mark_ready(row, *priority);
            } else {
                self.finish_duplicate(row, owner).await?;
            }
        }
        Ok(())
    }

    /// Ends a row that has no machine.
    async fn on_unresolvable(&mut self, row: u32, error: Error) -> Result<()> {
        let (runs, run_id, worker) =
            (self.shared.run_store(), &self.shared.header.run_id, self.shared.worker);
        match runs.claim_row(run_id, worker, vec![row]).await? {
            // Another worker has resolved the name in the meantime.
            Some(state) if state.machine_id.is_some() && !is_machine_id(state.machine.trim()) => {
                self.table.mark_ready(row, Priority::from_class(PriorityClass::Unknown));
                Ok(())
            }
            Some(state) => {
                let mut outcome = self.shared.new_outcome(&state);
                outcome.correlation_id = None;
                outcome.set_error(error);
                self.finish(&outcome, None).await
            }
            None => {
                self.table.mark_claimed_elsewhere(row);
                Ok(())
            }
        }
    }

    pub(super) async fn finish_duplicate(&mut self, row: u32, owner: u32) -> Result<()> {
        let (runs, run_id, worker) =
            (self.shared.run_store(), &self.shared.header.run_id, self.shared.worker);
        let Some(state) = runs.claim_row(run_id, worker, vec![row]).await? else {
            self.table.mark_claimed_elsewhere(row);
            return Ok(());
        };
        let mut outcome = self.shared.new_outcome(&state);
        outcome.correlation_id = None;
        let machine = outcome.label();
        let message = format!("{machine} is the same machine as row {owner}, which runs it");
        outcome.set_reason("duplicate", message);
        self.finish(&outcome, None).await
    }
}
