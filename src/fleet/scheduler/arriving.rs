//! How a row that left its way goes on: with its outcome, or with another try later.

use super::{Scheduler, UnderWay};
use crate::error::{Error, Kind, Result};
use crate::fleet::journey::Ended;
use crate::fleet::order::Class;
use crate::fleet::outcome::Outcome;
use crate::session::SessionResult;
use crate::state::journal::RowState;
use crate::state::store::IntentKey;

/// Tries of what the service itself fails at.
const TRIES: u32 = 5;

impl Scheduler {
    pub(super) async fn arrived(&mut self, row: u32, ended: Ended) -> Result<()> {
        // What it told on its way must not be taken for its next one's.
        while let Ok((row, step)) = self.steps.1.try_recv() {
            self.stepped(row, step);
        }
        let Some(UnderWay { state, .. }) = self.under_way.remove(&row) else { return Ok(()) };
        match ended {
            Ended::Done(outcome, result) => self.finish(&outcome, result.as_deref()).await,
            Ended::Parked => {
                self.table.ready_at(row, Some(Class::Parked), self.shared.now());
                Ok(())
            }
            Ended::Again(error) => self.again(&state, error).await,
            Ended::Lost(error) => Err(error),
        }
    }

    /// Later, or no more: a machine that is busy for longer than any session lasts, or a service that keeps failing.
    async fn again(&mut self, state: &RowState, error: Error) -> Result<()> {
        let limits = &self.shared.sessions.pipeline.options.limits;
        let now = self.shared.now();
        let trouble = self.table.trouble(state.row, now);
        let patience = limits.queue_time + limits.script_time;
        let hopeless = matches!(error.kind, Kind::Service) && trouble.tries >= TRIES;
        if now - trouble.since > patience || hopeless {
            let error = self.in_doubt(state, error).await?;
            let mut outcome = self.shared.outcome(state);
            outcome.fail(error);
            return self.finish(&outcome, None).await;
        }
        let pause = limits.settle_time / 4.0 * f64::from(1 << trouble.tries.min(5)) / 2.0;
        self.table.ready_at(state.row, None, now + pause);
        Ok(())
    }

    /// What ends a row of which a POST left, and nobody could learn what came of it, says so.
    async fn in_doubt(&self, state: &RowState, error: Error) -> Result<Error> {
        let Some(machine_id) = state.machine_id.clone() else { return Ok(error) };
        let correlation_id = self.shared.correlation_id(state.progress.parked);
        let key = IntentKey { machine_id, correlation_id };
        let intent = self.shared.quota.store().known_intent(key.clone()).await?;
        if error.kind == Kind::SubmitUnknown || !intent.is_some_and(|it| it.posted && it.action_id.is_none()) {
            return Ok(error);
        }
        let message = format!("{} may have been submitted to, and it could not be learned: {error}", state.machine);
        let mut unknown = Error::new(Kind::SubmitUnknown, message)
            .with_machine(&key.machine_id)
            .with_hint("find() with this machine and correlation_id tells, once the service does");
        unknown.correlation_id = Some(key.correlation_id);
        Ok(unknown.with_source(error))
    }

    pub(super) async fn finish(&mut self, outcome: &Outcome, result: Option<&SessionResult>) -> Result<()> {
        self.shared.finish(outcome, result).await?;
        self.has_finished = true;
        Ok(())
    }
}
