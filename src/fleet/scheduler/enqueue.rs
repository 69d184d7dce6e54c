//! Which machine each row means, and where it stands in the order. Each machine is its first row's.

use std::collections::BTreeMap;

use tokio::sync::mpsc::unbounded_channel;

use super::{PAGE, Scheduler};
use crate::error::{Error, Result};
use crate::fleet::priority::{Priority, PriorityClass};
use crate::fleet::resolver::{LookupRequest, Resolution, Resolver};
use crate::model::is_machine_id;
use crate::state::run_store::RowState;

impl Scheduler {
    /// Takes the rows from the journal, and has looked up what is not known of their machines.
    pub(super) async fn read_rows(&mut self) -> Result<()> {
        let (sender, resolutions) = unbounded_channel();
        self.resolutions = resolutions;
        let mut lookups = Vec::new();
        let mut from = 0;
        while from < self.shared.head.rows {
            let page =
                self.shared.run_store().list_rows(&self.shared.head.run_id, from, PAGE).await?;
            from += PAGE;
            for state in page.into_iter().filter(|state| !state.done) {
                if state.progress.first_submit.is_some() && state.machine_id.is_some() {
                    self.table.mark_ready(state.row, Priority::from_class(PriorityClass::Resumed));
                } else {
                    let RowState { row, machine, machine_id, .. } = state;
                    lookups.push(LookupRequest { row, machine, machine_id });
                }
            }
        }
        let resolver = Resolver::new(self.shared.sessions.pipeline.clone(), sender, lookups);
        self.resolving.spawn(resolver.run());
        Ok(())
    }

    /// A machine that is given by its id need not be found in a list first.
    pub(super) async fn enqueue_unranked(&mut self) -> Result<()> {
        self.started = f64::INFINITY;
        let mut from = 0;
        while from < self.shared.head.rows && self.table.has_unresolved() {
            let page =
                self.shared.run_store().list_rows(&self.shared.head.run_id, from, PAGE).await?;
            let unresolved = page.into_iter().filter(|state| self.table.is_unresolved(state.row));
            let named = unresolved.filter_map(|state| {
                Some((state.row, (state.machine_id?, Priority::from_class(PriorityClass::Unknown))))
            });
            self.enqueue_resolved(named.collect()).await?;
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

    /// Each machine is its first row's.
    async fn enqueue_resolved(&mut self, known: BTreeMap<u32, (String, Priority)>) -> Result<()> {
        let machines =
            known.iter().map(|(row, (machine_id, _))| (*row, machine_id.clone())).collect();
        let owners =
            self.shared.run_store().record_machines(&self.shared.head.run_id, machines).await?;
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

    /// A sibling that found the machine goes on with it.
    async fn on_unresolvable(&mut self, row: u32, error: Error) -> Result<()> {
        let (runs, run_id, worker) =
            (self.shared.run_store(), &self.shared.head.run_id, self.shared.worker);
        match runs.claim_row(run_id, worker, vec![row]).await? {
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

    async fn finish_duplicate(&mut self, row: u32, owner: u32) -> Result<()> {
        let (runs, run_id, worker) =
            (self.shared.run_store(), &self.shared.head.run_id, self.shared.worker);
        let Some(state) = runs.claim_row(run_id, worker, vec![row]).await? else {
            self.table.mark_claimed_elsewhere(row);
            return Ok(());
        };
        let mut outcome = self.shared.new_outcome(&state);
        outcome.correlation_id = None;
        outcome.set_reason(
            "duplicate",
            format!("{} is the machine of row {owner}, and runs once", state.machine),
        );
        self.finish(&outcome, None).await
    }
}
