//! What became of a POST: the answer read, and where it was lost or says nothing, the service's list asked.

use super::submit::{Plan, Verdict};
use super::{Session, Sessions, Tag};
use crate::client::{literal, submitted};
use crate::error::{Error, Kind, Result};
use crate::limits::{Admission, Pass, SlotGuard};
use crate::model::MachineAction;
use crate::operation::Operation;
use crate::pipeline::{Answer, Attempt, LOG};
use crate::state::store::Learned;

/// When to look, as parts of `Limits.settle_time`: often at first, for most answers are lost after the act.
const LOOKS: [f64; 9] =
    [1.0 / 240.0, 1.0 / 120.0, 1.0 / 60.0, 1.0 / 30.0, 1.0 / 15.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0];

/// One submit from its POST to its verdict.
pub(super) struct Exchange<'a> {
    plan: &'a Plan,
    /// Whether the caller has left: what is on the wire is settled, but nothing more is sent.
    caller_left: &'a (dyn Fn() -> bool + Sync),
    /// An earlier try was lost, and may land yet.
    posted_before: bool,
}

impl<'a> Exchange<'a> {
    pub fn new(plan: &'a Plan, caller_left: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { plan, caller_left, posted_before: plan.turn.is_posted() }
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
        match pipeline.run_live_response(self.machine_id(), &plan.commands, &plan.comment, pass).await {
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

impl Plan {
    /// What this intent came to before, as the store and the service's list have it.
    pub async fn found_again(&self, patience: &super::patience::Patience) -> Result<Option<Session>> {
        let (posted, key) = (self.turn.is_posted(), &self.turn.key);
        let found = match (posted || self.forgotten, self.given) {
            (true, _) => self.settle().await,
            (false, true) => patience.bound(self, self.look()).await?,
            (false, false) => return Ok(None),
        };
        let found = found.map_err(|error| {
            let mut error = self.about(error);
            error.retryable |= posted;
            error
        })?;
        let Some(action) = found else {
            if posted {
                let settle_time = self.sessions.pipeline.options.limits.settle_time;
                self.quota.clear_doubt(&key.machine_id, settle_time).await.map_err(|error| self.about(error))?;
            }
            return Ok(None);
        };
        if !self.is_ours(&action) {
            return Err(self.other_commands().with_action(&action.id));
        }
        self.settled(&action).await.map_err(|error| self.about(error))?;
        Ok(Some(self.sessions.meant(key, &action)))
    }

    /// Notes which action the intent came to; while that runs, it holds slot and machine.
    async fn settled(&self, action: &MachineAction) -> Result<()> {
        let lease = (!action.is_done()).then_some(self.lease);
        self.quota.store().settled(self.turn.key.clone(), action.id.clone(), lease).await?;
        if lease.is_none() {
            self.quota.wake();
        }
        Ok(())
    }

    /// Another's action is on the machine: it holds one of the tenant's slots, too.
    async fn learn_of(&self, action_id: Option<&str>) -> Result<()> {
        let Some(action_id) = action_id else { return Ok(()) };
        let machine_id = self.turn.key.machine_id.clone();
        self.quota.learn(vec![Learned { machine_id, action_id: action_id.to_owned(), lease: self.lease }]).await
    }

    /// The action, if it is in any look over the settle time. Only the last look says that there is none.
    async fn settle(&self) -> Result<Option<MachineAction>> {
        let mut last = Ok(None);
        for pause in self.pauses() {
            self.sessions.pipeline.clock.sleep(pause).await;
            last = self.look().await;
            match &last {
                Ok(Some(_)) => break,
                Err(error) if !error.retryable => break,
                Ok(None) | Err(_) => {}
            }
        }
        last
    }

    /// Looks our own tag up among this machine's live response actions. One who copied our comment has other commands.
    async fn look(&self) -> Result<Option<MachineAction>> {
        let mut tagged = self.sessions.tagged(&self.turn.key.machine_id, &self.tag).await?;
        let ours = tagged.iter().position(|action| self.same_commands(action)).unwrap_or_default();
        Ok((ours < tagged.len()).then(|| tagged.swap_remove(ours)))
    }

    /// Whether the service tells our commands; what it does not tell yet, it does not gainsay.
    fn same_commands(&self, action: &MachineAction) -> bool {
        let ours = &self.commands;
        let told = |(entry, ours): (&crate::model::ActionCommand, &crate::model::Command)| entry.command.is_like(ours);
        action.commands.is_empty()
            || (action.commands.len() == ours.len() && action.commands.iter().zip(ours.iter()).all(told))
    }

    /// Of an action that bears our tag. An id that was made here for this submit is nobody else's, so the service that
    /// tells its commands in other words still tells of ours.
    fn is_ours(&self, action: &MachineAction) -> bool {
        !self.given || self.same_commands(action)
    }

    fn ours(&self, action: MachineAction, was_there: bool) -> Verdict {
        if self.is_ours(&action) {
            return Verdict::Ours(Box::new(action), was_there);
        }
        Verdict::Refused(self.other_commands().with_action(&action.id))
    }

    fn unknown(&self, error: &Error, unreadable: &Error) -> Error {
        let message = format!(
            "machine {} may or may not have been submitted to ({error}), and the service could not be asked: {unreadable}",
            self.turn.key.machine_id
        );
        Error::new(Kind::SubmitUnknown, message)
            .with_source(unreadable.clone())
            .with_hint("submit again with the same correlation_id: it looks first, and starts nothing twice")
    }

    /// Seconds from one look to the next, over the settle time.
    fn pauses(&self) -> impl Iterator<Item = f64> + use<> {
        let settle_time = self.sessions.pipeline.options.limits.settle_time;
        let mut before = 0.0;
        LOOKS.into_iter().map(move |look| {
            let pause = (look - before) * settle_time;
            before = look;
            pause
        })
    }
}

impl Sessions {
    /// The actions that bear `tag` among the machine's live response actions, oldest first.
    pub(super) async fn tagged(&self, machine_id: &str, tag: &Tag) -> Result<Vec<MachineAction>> {
        let mut actions = self.pipeline.machine_actions(Some(&on_machine(machine_id)), None).await?;
        actions.retain(|action| tag.is_on(action));
        actions.reverse();
        Ok(actions)
    }
}

pub(super) fn on_machine(machine_id: &str) -> String {
    format!("type eq 'LiveResponse' and machineId eq {}", literal(machine_id))
}
