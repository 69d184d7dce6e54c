//! What happens after a row task has ended: the row gets its outcome, or another try later.

use super::{ActiveRow, Scheduler};
use crate::error::{Error, Kind, Result};
use crate::fleet::outcome::Outcome;
use crate::fleet::priority::PriorityClass;
use crate::fleet::protocol::RowExit;
use crate::fleet::shared::MAX_ATTEMPTS;
use crate::pauses;
use crate::session::SessionResult;
use crate::state::run_store::RowState;
use crate::state::store::IntentKey;

impl Scheduler {
    pub(super) async fn on_row_exit(&mut self, row: u32, exit: RowExit) -> Result<()> {
        // Events of this task must not count as events of the row's next task.
        while let Ok((row, event)) = self.events.1.try_recv() {
            self.on_row_event(row, event);
        }
        if let RowExit::Refetched(newer) = exit {
            return self.on_refetched(row, newer.map(|newer| *newer)).await;
        }
        let Some(ActiveRow { state, .. }) = self.active.remove(&row) else {
            return match exit {
                RowExit::RunFailed(error) => Err(error),
                _ => Ok(()),
            };
        };
        match exit {
            RowExit::Refetched(_) => Ok(()),
            RowExit::Done(outcome, result) => self.finish(&outcome, result.as_deref()).await,
            RowExit::Parked => {
                self.table.delay_until(row, Some(PriorityClass::Parked), self.shared.now());
                Ok(())
            }
            RowExit::Unreached(last) => {
                let (outcome, result, unreached) = *last;
                self.set_aside(&outcome, result.as_ref(), unreached).await
            }
            RowExit::Retry(error) => self.retry_or_fail(&state, error).await,
            RowExit::RunFailed(error) => Err(error),
        }
    }

    /// Tries the row again later. Gives up if the machine has been busy for longer than any session
    /// lasts, or if the service keeps failing.
    async fn retry_or_fail(&mut self, state: &RowState, error: Error) -> Result<()> {
        let limits = &self.shared.sessions.pipeline.options.limits;
        let now = self.shared.now();
        let failures = self.table.record_failure(state.row, now);
        let patience = limits.queue_time + limits.script_time;
        let is_exhausted = matches!(error.kind, Kind::Service) && failures.tries >= MAX_ATTEMPTS;
        if now - failures.since > patience || is_exhausted {
            let error = self.to_submit_unknown(state, error).await?;
            let mut outcome = self.shared.new_outcome(state);
            outcome.set_error(error);
            return self.finish(&outcome, None).await;
        }
        let pause = pauses::RETRY_ROW.seconds(limits) * f64::from(1 << failures.tries.min(5));
        self.table.delay_until(state.row, None, now + pause);
        Ok(())
    }

    /// Returns a `SubmitUnknown` error if a POST was sent and its result is still unknown.
    async fn to_submit_unknown(&self, state: &RowState, error: Error) -> Result<Error> {
        let Some(machine_id) = state.machine_id.clone() else { return Ok(error) };
        let correlation_id = self.shared.correlation_id(state.progress.parked);
        let key = IntentKey { machine_id, correlation_id };
        let intent = self.shared.quota.store().get_intent(key.clone()).await?;
        // A busy machine was looked at before each POST and after the last one.
        if matches!(error.kind, Kind::SubmitUnknown | Kind::MachineBusy)
            || !intent.is_some_and(|it| it.posted && it.action_id.is_none())
        {
            return Ok(error);
        }
        let message = format!(
            "the submit to {} may have reached the service, and its result is unknown: {error}",
            state.machine
        );
        let mut unknown = Error::new(Kind::SubmitUnknown, message)
            .with_machine(&key.machine_id)
            .with_hint("call find_session() with this machine and correlation_id later");
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
