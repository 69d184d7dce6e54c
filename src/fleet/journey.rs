//! One row on its way: submitted, followed, its results fetched. What it came to is told, never thrown away.

mod fetching;
mod parking;

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};

use super::manifest;
use super::outcome::Outcome;
use super::shared::{Shared, is_of_the_run};
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::session::{Guidance, Session, SessionResult, Submit, UpdateSink};
use crate::state::journal::{Progress, RowState};
use crate::state::store::IntentKey;
use crate::trace::LOG;

/// Tries of what the service fails at, once the session was started.
const TRIES: u32 = 5;

/// What the scheduler wants of a row under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Wish {
    #[default]
    GoOn,
    /// Give the slot up, if it is still Pending.
    Park,
    /// Leave the line; with a comment, cancel the session too.
    Stop(Option<String>),
}

/// How far a row under way has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It left the line.
    Admitted,
    Pending,
    Running,
    /// It was to give up its slot, and could not.
    Staying,
}

/// How a row left its way.
#[derive(Debug)]
pub enum Ended {
    Done(Box<Outcome>, Option<Box<SessionResult>>),
    /// It did not come to a session's end, and may later.
    Again(Error),
    /// Its session was cancelled while Pending, to make room.
    Parked,
    /// It is the run that can't go on, not the row.
    Lost(Error),
}

/// One row under way.
pub struct Journey {
    pub shared: Arc<Shared>,
    pub state: RowState,
    pub wishes: watch::Receiver<Wish>,
    pub steps: UnboundedSender<(u32, Step)>,
}

impl Journey {
    pub async fn go(mut self) -> Ended {
        let session = match self.submit().await {
            Ok(Some(session)) => session,
            Ok(None) => return self.not_submitted(),
            Err(error) => return self.refused(error),
        };
        match self.until_the_end(&session).await {
            Ok(ended) => ended,
            Err(error) => Ended::Lost(error),
        }
    }

    /// None where the run was stopped before anything was submitted.
    async fn submit(&mut self) -> Result<Option<Session>> {
        if matches!(*self.wishes.borrow(), Wish::Stop(_)) {
            return self.find().await;
        }
        let shared = self.shared.clone();
        let head = &shared.head;
        let commands = head.commands.get(self.state.commands as usize).cloned().unwrap_or_default();
        let submit = Submit {
            machine_id: self.state.machine_id.clone().unwrap_or_default(),
            commands,
            comment: head.comment.clone(),
            correlation_id: Some(shared.correlation_id(self.state.progress.parked)),
            wait_if_busy: false,
        };
        match self.stand_in_line(submit).await {
            Some(submitted) => submitted.map(Some),
            None => self.find().await,
        }
    }

    /// None where the run was stopped before the submit left the line.
    async fn stand_in_line(&mut self, submit: Submit) -> Option<Result<Session>> {
        let admitted = Arc::new(Notify::new());
        let guidance = Guidance { fresh: self.shared.head.generated, admitted: Some(admitted.clone()) };
        let submitting = self.shared.sessions.submit_guided(submit, None, guidance);
        tokio::pin!(submitting);
        let mut in_line = true;
        loop {
            tokio::select! {
                biased;
                submitted = &mut submitting => return Some(submitted),
                () = admitted.notified(), if in_line => {
                    in_line = false;
                    let _ = self.steps.send((self.state.row, Step::Admitted));
                }
                () = stopped(&mut self.wishes), if in_line => return None,
            }
        }
    }

    /// The session that was started before the run was stopped.
    async fn find(&self) -> Result<Option<Session>> {
        let Some(machine_id) = self.state.machine_id.clone() else { return Ok(None) };
        let correlation_id = self.shared.correlation_id(self.state.progress.parked);
        self.shared.sessions.find_started(&IntentKey { machine_id, correlation_id }).await
    }

    async fn until_the_end(&mut self, session: &Session) -> Result<Ended> {
        let now = self.shared.now();
        let taken_up = self.state.progress.first_submit.is_some();
        if !taken_up {
            self.note(Progress { first_submit: Some(now), ..self.state.progress }).await?;
        }
        self.tell(Step::Pending);
        let action = match self.follow(session).await? {
            Ok(action) => action,
            Err(error) => return Ok(self.lost_sight(session, error)),
        };
        if self.state.progress.parking && self.was_set_aside(session, &action).await {
            return self.park().await;
        }
        Ok(match self.fetch(session).await {
            Ok(result) => self.done(result, taken_up).await,
            Err(error) => self.lost_sight(session, error),
        })
    }

    /// Waits for the action's end, and does meanwhile what is wished.
    async fn follow(&mut self, session: &Session) -> Result<Result<MachineAction>> {
        let clock = self.shared.sessions.pipeline.clock;
        let limits = self.shared.sessions.pipeline.options.limits.clone();
        let give_up = clock.now() + limits.queue_time + limits.settle_time + limits.script_time * 10.0;
        let (steps, row) = (self.steps.clone(), self.state.row);
        let sink: UpdateSink = Arc::new(move |action: &MachineAction| {
            if action.status != "Pending" {
                let _ = steps.send((row, Step::Running));
            }
        });
        loop {
            let left = self.cancel_pending_after();
            let waiting = session.wait(None, Some(sink.clone()), left);
            tokio::select! {
                biased;
                ended = waiting => match ended {
                    Err(error) if error.retryable && clock.now() < give_up => {
                        log::warn!(target: LOG, "could not follow session {}: {error}", session.id);
                        clock.sleep(limits.settle_time / 4.0).await;
                    }
                    ended => return Ok(ended),
                },
                wish = next_wish(&mut self.wishes) => self.act_on(wish, session).await?,
            }
        }
    }

    async fn note(&mut self, progress: Progress) -> Result<()> {
        self.state.progress = progress;
        let shared = self.shared.clone();
        shared.journal()?.progress(&shared.head.run_id, self.state.row, progress).await
    }

    /// Of the seconds Pending that the caller allows, those that are left.
    fn cancel_pending_after(&self) -> Option<f64> {
        let waited = self.shared.now() - self.state.progress.first_submit.unwrap_or_default();
        self.shared.head.cancel_pending_after.map(|seconds| (seconds - waited).max(0.0))
    }

    fn tell(&self, step: Step) {
        let _ = self.steps.send((self.state.row, step));
    }

    fn outcome(&self) -> Outcome {
        self.shared.outcome(&self.state)
    }

    async fn done(&self, result: SessionResult, taken_up: bool) -> Ended {
        let mut outcome = self.outcome();
        outcome.tell(&result);
        if let Some(folder) = &self.shared.head.save_to {
            let (run_id, now) = (&self.shared.head.run_id, self.shared.now());
            if let Err(error) = manifest::note(folder.as_ref(), run_id, &result, taken_up, now).await {
                log::warn!(target: LOG, "what {} gave is saved, but not in the manifest: {error}", outcome.machine);
                outcome.fail(error);
                outcome.reason = "fetch".to_owned();
            }
        }
        Ended::Done(Box::new(outcome), Some(Box::new(result)))
    }

    fn not_submitted(&self) -> Ended {
        Ended::Done(Box::new(self.shared.not_submitted(&self.state)), None)
    }

    fn refused(&self, error: Error) -> Ended {
        if error.retryable {
            return Ended::Again(error);
        }
        if is_of_the_run(&error) {
            return Ended::Lost(error);
        }
        let mut outcome = self.outcome();
        outcome.fail(error);
        Ended::Done(Box::new(outcome), None)
    }

    /// The session was started, and nothing more can be learned of it.
    fn lost_sight(&self, session: &Session, error: Error) -> Ended {
        if is_of_the_run(&error) {
            return Ended::Lost(error);
        }
        let mut outcome = self.outcome();
        outcome.action_id = Some(session.id.clone());
        outcome.status = session.action().map(|action| action.status);
        let permitted = error.kind != Kind::PermissionDenied;
        outcome.fail(error);
        if permitted {
            outcome.reason = "error".to_owned();
        }
        Ended::Done(Box::new(outcome), None)
    }
}

async fn next_wish(wishes: &mut watch::Receiver<Wish>) -> Wish {
    match wishes.changed().await {
        Ok(()) => wishes.borrow_and_update().clone(),
        Err(_) => std::future::pending().await,
    }
}

async fn stopped(wishes: &mut watch::Receiver<Wish>) {
    let stopped = wishes.wait_for(|wish| matches!(wish, Wish::Stop(_))).await.is_ok();
    if !stopped {
        std::future::pending::<()>().await;
    }
}
