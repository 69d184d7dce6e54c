//! How a row that left its way goes on: with its outcome, or with another try later.

use super::{ActiveRow, Scheduler};
use crate::error::{Error, Kind, Result};
use crate::fleet::outcome::Outcome;
use crate::fleet::priority::PriorityClass;
use crate::fleet::row::RowExit;
use crate::pauses;
use crate::session::SessionResult;
use crate::state::run_store::RowState;
use crate::state::store::IntentKey;

/// Tries of what the service itself fails at.
const MAX_ATTEMPTS: u32 = 5;

impl Scheduler {
    pub(super) async fn on_row_exit(&mut self, row: u32, ended: RowExit) -> Result<()> {
        // What it told on its way must not be taken for its next one's.
        while let Ok((row, event)) = self.events.1.try_recv() {
            self.on_row_event(row, event);
        }
        let Some(ActiveRow { state, .. }) = self.active.remove(&row) else { return Ok(()) };
        match ended {
            RowExit::Done(outcome, result) => self.finish(&outcome, result.as_deref()).await,
            RowExit::Parked => {
                self.table.delay_until(row, Some(PriorityClass::Parked), self.shared.now());
                Ok(())
            }
            RowExit::Retry(error) => self.retry_or_fail(&state, error).await,
            RowExit::RunFailed(error) => Err(error),
        }
    }

    /// Later, or no more: a machine that is busy for longer than any session lasts, or a service that keeps failing.
    async fn retry_or_fail(&mut self, state: &RowState, error: Error) -> Result<()> {
        let limits = &self.shared.sessions.pipeline.options.limits;
        let now = self.shared.now();
        let retry = self.table.record_failure(state.row, now);
        let patience = limits.queue_time + limits.script_time;
        let is_exhausted = matches!(error.kind, Kind::Service) && retry.tries >= MAX_ATTEMPTS;
        if now - retry.since > patience || is_exhausted {
            let error = self.to_submit_unknown(state, error).await?;
            let mut outcome = self.shared.new_outcome(state);
            outcome.set_error(error);
            return self.finish(&outcome, None).await;
        }
        let pause = pauses::RETRY_ROW.seconds(limits) * f64::from(1 << retry.tries.min(5));
        self.table.delay_until(state.row, None, now + pause);
        Ok(())
    }

    /// What ends a row of which a POST left, and nobody could learn what came of it, says so.
    async fn to_submit_unknown(&self, state: &RowState, error: Error) -> Result<Error> {
        let Some(machine_id) = state.machine_id.clone() else { return Ok(error) };
        let correlation_id = self.shared.correlation_id(state.progress.parked);
        let key = IntentKey { machine_id, correlation_id };
        let intent = self.shared.quota.store().get_intent(key.clone()).await?;
        if error.kind == Kind::SubmitUnknown
            || !intent.is_some_and(|it| it.posted && it.action_id.is_none())
        {
            return Ok(error);
        }
        let message = format!(
            "{} may have been submitted to, and it could not be learned: {error}",
            state.machine
        );
        let mut unknown = Error::new(Kind::SubmitUnknown, message)
            .with_machine(&key.machine_id)
            .with_hint("find() with this machine and correlation_id tells, once the service does");
        unknown.correlation_id = Some(key.correlation_id);
        Ok(unknown.with_source(error))
    }

    pub(super) async fn finish(
        &mut self,
        outcome: &Outcome,
        result: Option<&SessionResult>,
    ) -> Result<()> {
        self.shared.finish(outcome, result).await?;
        self.has_new_outcomes = true;
        Ok(())
    }
}
