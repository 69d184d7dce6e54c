//! One POST: the answer read, and where it was lost or says nothing, its action sought.

use super::submit::{Plan, Verdict};
use crate::client::submitted;
use crate::error::{Error, Kind};
use crate::limits::{Admission, Pass, SlotGuard};
use crate::model::MachineAction;
use crate::operation::Operation;
use crate::pipeline::{Answer, Attempt};
use crate::trace;
use crate::trace::LOG;

/// One submit from its POST to its verdict.
pub(super) struct Exchange<'a> {
    plan: &'a Plan,
    /// Whether the caller has left: what is on the wire is settled, but nothing more is sent.
    caller_left: &'a (dyn Fn() -> bool + Sync),
    /// An earlier try was lost, and may land yet.
    posted_before: bool,
    attempt: u32,
}

impl<'a> Exchange<'a> {
    pub fn new(plan: &'a Plan, caller_left: &'a (dyn Fn() -> bool + Sync), attempt: u32) -> Self {
        Self { plan, caller_left, posted_before: plan.turn.is_posted(), attempt }
    }

    /// Posts, settles, and notes the outcome in the store.
    pub async fn run(self, admission: Admission) -> Verdict {
        let Admission { pass, slot } = admission;
        if (self.caller_left)() {
            return Verdict::Refused(Error::invalid("the caller left before anything was sent"));
        }
        // The intent must outlive this process before anything can reach the service.
        if let Err(error) = self.plan.turn.posted(true).await {
            return Verdict::Refused(error);
        }
        let first = self.post(pass, None).await;
        let was_lost = matches!(first, Verdict::Unknown(_));
        let verdict = match first {
            Verdict::Unknown(error) => self.settle_and_repeat(error).await,
            verdict => verdict,
        };
        self.note(&verdict, was_lost, slot).await;
        verdict
    }

    /// A try that `was_lost` may land yet: before the next one the list is asked again.
    async fn note(&self, verdict: &Verdict, was_lost: bool, slot: SlotGuard) {
        let noted = match verdict {
            Verdict::Ours(action, _) => {
                slot.keep();
                self.plan.settled(action).await
            }
            Verdict::Unknown(_) => {
                slot.keep();
                Ok(())
            }
            Verdict::Busy(_, listed) => {
                drop(slot);
                self.plan.learn_of(listed.as_deref()).await
            }
            _ => Ok(()),
        };
        let noted = match verdict {
            Verdict::Ours(..) | Verdict::Unknown(_) | Verdict::NotThere(_) => noted,
            _ if was_lost => noted,
            _ => noted.and(self.plan.turn.posted(self.posted_before).await),
        };
        if let Err(error) = noted {
            log::warn!(target: LOG, "could not note what became of a submit to machine {}: {error}", self.machine_id());
        }
    }

    fn machine_id(&self) -> &str {
        &self.plan.turn.key.machine_id
    }

    /// `lost`: how an earlier try of this submit ended, of which nothing could be found.
    async fn post(&self, pass: Pass, lost: Option<&Error>) -> Verdict {
        let plan = self.plan;
        let pipeline = &plan.sessions.pipeline;
        let posting = pipeline.run_live_response(self.machine_id(), &plan.commands, &plan.comment, pass);
        match trace::numbered(self.attempt + u32::from(lost.is_some()), posting).await {
            Attempt::Answered(answer) => self.read(&answer, lost).await,
            Attempt::Throttled(throttle, error) => Verdict::Throttled(throttle, error),
            Attempt::NotSent(error) => Verdict::NotSent(error),
            Attempt::TokenRefused(error) => Verdict::TokenRefused(error),
            Attempt::Refused(error) if error.kind == Kind::MachineBusy => self.busy(error, lost).await,
            Attempt::Refused(error) => Verdict::Refused(error),
            Attempt::Unclear(error) => Verdict::Unknown(error),
        }
    }

    /// An action is ours by our tag. One without any comment is neither ours nor another's yet.
    async fn read(&self, answer: &Answer, lost: Option<&Error>) -> Verdict {
        let mut action = match submitted(answer) {
            Ok(action) => action,
            Err(error) => return Verdict::Unknown(error),
        };
        if is_silent(&action) {
            match self.read_again(&action.id).await {
                Some(filled) => action = filled,
                None => return Verdict::Unknown(self.silent(&action.id)),
            }
        }
        if self.plan.tag.is_on(&action) {
            return self.plan.ours(action, false);
        }
        let machine = self.machine_id();
        let message = format!("machine {machine} is busy with another's session, {}", action.id);
        let mut error = Error::new(Kind::MachineBusy, message).with_hint(
            "the service handed back an action that is not ours; wait for it with on_busy=\"wait\", or try again later",
        );
        error.active_action_id = Some(action.id);
        self.busy(error, lost).await
    }

    async fn read_again(&self, action_id: &str) -> Option<MachineAction> {
        for pause in self.plan.pauses() {
            self.plan.sessions.pipeline.clock.sleep(pause).await;
            match self.plan.sessions.pipeline.machine_action(action_id).await {
                Ok(action) if !is_silent(&action) => return Some(action),
                Ok(_) => {}
                Err(error) if error.kind == Kind::NotFound || error.retryable => {}
                Err(_) => return None,
            }
        }
        None
    }

    fn silent(&self, action_id: &str) -> Error {
        let message = format!("the service started session {action_id} and did not say for whom");
        Error::new(Kind::Service, message).with_action(action_id)
    }

    /// The machine is taken: by an earlier POST of ours that landed late, by a sibling, or by another.
    async fn busy(&self, mut error: Error, lost: Option<&Error>) -> Verdict {
        match (self.plan.look().await, lost) {
            (Ok(Some(action)), _) => return self.plan.ours(action, lost.is_none()),
            (Err(unreadable), Some(lost)) => return Verdict::Unknown(self.plan.unknown(lost, &unreadable)),
            // This POST was refused for certain, and there was no other.
            (Err(_), None) | (Ok(None), _) => {}
        }
        let listed = self.plan.sessions.active_action(self.machine_id()).await.unwrap_or_default();
        error.active_action_id = error.active_action_id.take().or_else(|| listed.clone());
        Verdict::Busy(error, listed)
    }

    /// Looks for the action over the settle time; where it is in no look, posts once more.
    async fn settle_and_repeat(&self, error: Error) -> Verdict {
        log::warn!(target: LOG, "{error}; looking for the action at the service");
        match self.plan.settle().await {
            Ok(Some(action)) => return self.plan.ours(action, false),
            Err(unreadable) => return Verdict::Unknown(self.plan.unknown(&error, &unreadable)),
            Ok(None) => {}
        }
        if (self.caller_left)() {
            return Verdict::Refused(error);
        }
        let pass = match self.plan.quota.enter(Operation::RunLiveResponse).await {
            Ok(pass) => pass,
            Err(failed) => return Verdict::Refused(failed),
        };
        if (self.caller_left)() {
            return Verdict::Refused(error);
        }
        // It may have taken so long that another has the turn by now.
        if let Err(lost) = self.plan.turn.posted(true).await {
            return Verdict::Refused(lost);
        }
        let machine = self.machine_id();
        log::warn!(target: LOG, "no action was started on machine {machine}; submitting once more");
        match self.post(pass, Some(&error)).await {
            Verdict::Unknown(error) if error.kind != Kind::SubmitUnknown => match self.plan.settle().await {
                Ok(Some(action)) => self.plan.ours(action, false),
                Err(unreadable) => Verdict::Unknown(self.plan.unknown(&error, &unreadable)),
                Ok(None) => Verdict::NotThere(not_there(error)),
            },
            verdict => verdict,
        }
    }
}

/// A first body may have no comment yet. The service takes no empty one.
fn is_silent(action: &MachineAction) -> bool {
    action.requestor_comment.as_deref().unwrap_or_default().trim().is_empty()
}

fn not_there(cause: Error) -> Error {
    let mut error = cause.clone();
    error.kind = Kind::Service;
    error.retryable = true;
    error.message = format!("{cause}, twice, and the service's list shows no action");
    error.with_source(cause).with_hint(
        "the same call with the same correlation_id looks for the action again before it submits; a machine on which \
         an earlier action is stuck may answer so for hours",
    )
}
