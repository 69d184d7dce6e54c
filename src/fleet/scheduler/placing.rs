//! Which machine each row means, and where it stands in the order. Each machine is its first row's.

use std::collections::BTreeMap;

use tokio::sync::mpsc::unbounded_channel;

use super::{PAGE, Scheduler};
use crate::error::{Error, Result};
use crate::fleet::order::{Class, Rank};
use crate::fleet::resolve::{Finding, Question, Resolver};
use crate::model::is_machine_id;
use crate::state::journal::RowState;

impl Scheduler {
    /// Takes the rows from the journal, and has looked up what is not known of their machines.
    pub(super) async fn read_rows(&mut self) -> Result<()> {
        let (tell, findings) = unbounded_channel();
        self.findings = findings;
        let mut questions = Vec::new();
        let mut from = 0;
        while from < self.shared.head.rows {
            let page = self.shared.journal()?.rows(&self.shared.head.run_id, from, PAGE).await?;
            from += PAGE;
            for state in page.into_iter().filter(|state| !state.done) {
                if state.progress.first_submit.is_some() && state.machine_id.is_some() {
                    self.table.ready(state.row, Rank::of(Class::TakenUp));
                } else {
                    let RowState { row, machine, machine_id, .. } = state;
                    questions.push(Question { row, machine, machine_id });
                }
            }
        }
        let resolver = Resolver::new(self.shared.sessions.pipeline.clone(), tell, questions);
        self.resolving.spawn(resolver.run());
        Ok(())
    }

    /// A machine that is given by its id need not be found in a list first.
    pub(super) async fn order_no_longer(&mut self) -> Result<()> {
        self.started = f64::INFINITY;
        let mut from = 0;
        while from < self.shared.head.rows && self.table.has_unresolved() {
            let page = self.shared.journal()?.rows(&self.shared.head.run_id, from, PAGE).await?;
            let unresolved = page.into_iter().filter(|state| self.table.is_unresolved(state.row));
            let named = unresolved.filter_map(|state| Some((state.row, (state.machine_id?, Rank::of(Class::Unknown)))));
            self.place(named.collect()).await?;
            from += PAGE;
        }
        Ok(())
    }

    pub(super) async fn resolved(&mut self, findings: Vec<Finding>) -> Result<()> {
        let mut known = BTreeMap::new();
        for finding in findings {
            match finding {
                Finding::Known(row, machine_id, rank) => drop(known.insert(row, (machine_id, rank))),
                Finding::Wrong(row, error) => self.no_machine(row, error).await?,
                Finding::Lost(error) => return Err(error),
            }
        }
        self.place(known).await
    }

    /// Each machine is its first row's.
    async fn place(&mut self, known: BTreeMap<u32, (String, Rank)>) -> Result<()> {
        let machines = known.iter().map(|(row, (machine_id, _))| (*row, machine_id.clone())).collect();
        let owners = self.shared.journal()?.resolved(&self.shared.head.run_id, machines).await?;
        for (row, owner) in owners {
            let Some((_, rank)) = known.get(&row) else { continue };
            if row == owner {
                self.table.ready(row, *rank);
            } else {
                self.duplicate(row, owner).await?;
            }
        }
        Ok(())
    }

    /// A sibling that found the machine goes on with it.
    async fn no_machine(&mut self, row: u32, error: Error) -> Result<()> {
        let (journal, run_id, worker) = (self.shared.journal()?, &self.shared.head.run_id, self.shared.worker);
        match journal.claim(run_id, worker, vec![row]).await? {
            Some(state) if state.machine_id.is_some() && !is_machine_id(state.machine.trim()) => {
                self.table.ready(row, Rank::of(Class::Unknown));
                Ok(())
            }
            Some(state) => {
                let mut outcome = self.shared.outcome(&state);
                outcome.correlation_id = None;
                outcome.fail(error);
                self.finish(&outcome, None).await
            }
            None => {
                self.table.elsewhere(row);
                Ok(())
            }
        }
    }

    async fn duplicate(&mut self, row: u32, owner: u32) -> Result<()> {
        let (journal, run_id, worker) = (self.shared.journal()?, &self.shared.head.run_id, self.shared.worker);
        let Some(state) = journal.claim(run_id, worker, vec![row]).await? else {
            self.table.elsewhere(row);
            return Ok(());
        };
        let mut outcome = self.shared.outcome(&state);
        outcome.correlation_id = None;
        outcome.because("duplicate", format!("{} is the machine of row {owner}, and runs once", state.machine));
        self.finish(&outcome, None).await
    }
}
