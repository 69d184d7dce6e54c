//! What became of a POST: the answer read, and where it was lost or says nothing, the service's list asked.

use super::submit::{Plan, Verdict};
use super::{Sessions, Tag};
use crate::client::{literal, submitted};
use crate::error::{Error, Kind, Result};
use crate::model::MachineAction;
use crate::operation::Operation;
use crate::pipeline::{Answer, Attempt, LOG};
use crate::state::{Admission, SlotGuard};

/// When to look, as parts of `Limits.settle_time`: often at first, for most answers are lost after the act.
const LOOKS: [f64; 9] =
    [1.0 / 240.0, 1.0 / 120.0, 1.0 / 60.0, 1.0 / 30.0, 1.0 / 15.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0];

/// One submit from its POST to its verdict.
pub(super) struct Exchange<'a> {
    plan: &'a Plan,
    /// Whether the caller has left: what is on the wire is settled, but nothing more is sent.
    caller_left: &'a (dyn Fn() -> bool + Sync),
}

impl<'a> Exchange<'a> {
    pub fn new(plan: &'a Plan, caller_left: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self { plan, caller_left }
    }

    /// Posts, settles, and notes the outcome in the store.
    pub async fn run(self, admission: Admission) -> Verdict {
        let Admission { pass, slot } = admission;
        if (self.caller_left)() {
            return Verdict::Refused(Error::invalid("the caller left before anything was sent"));
        }
        self.plan.intent.set_posted(true);
        let verdict = match self.post(pass).await {
            Verdict::Unknown(error) if error.kind != Kind::SubmitUnknown => self.settle_and_repeat(error).await,
            verdict => verdict,
        };
        self.note(&verdict, slot);
        verdict
    }

    fn note(&self, verdict: &Verdict, slot: SlotGuard) {
        match verdict {
            Verdict::Ours(action, _) => {
                self.plan.intent.set_action(&action.id);
                if action.is_done() { drop(slot) } else { slot.keep(&action.id) }
            }
            Verdict::Unknown(_) => slot.leave_taken(),
            _ => self.plan.intent.set_posted(false),
        }
    }

    async fn post(&self, pass: crate::state::Pass) -> Verdict {
        let plan = self.plan;
        let pipeline = &plan.sessions.pipeline;
        match pipeline.run_live_response(&plan.key.machine_id, &plan.commands, &plan.comment, pass).await {
            Attempt::Answered(answer) => self.read(&answer).await,
            Attempt::Throttled(throttle, error) => Verdict::Throttled(throttle, error),
            Attempt::NotSent(error) => Verdict::NotSent(error),
            Attempt::TokenRefused(error) => Verdict::TokenRefused(error),
            Attempt::Refused(error) if error.kind == Kind::MachineBusy => self.busy(error).await,
            Attempt::Refused(error) => Verdict::Refused(error),
            Attempt::Unclear(error) => Verdict::Unknown(error),
        }
    }

    /// An action is ours by our tag. One without any comment is neither ours nor another's yet.
    async fn read(&self, answer: &Answer) -> Verdict {
        let mut action = match submitted(answer) {
            Ok(action) => action,
            Err(error) => return Verdict::Unknown(error),
        };
        if action.requestor_comment.is_none() {
            match self.read_again(&action.id).await {
                Some(filled) => action = filled,
                None => return Verdict::Unknown(self.silent(&action.id)),
            }
        }
        if self.plan.tag.is_on(&action) {
            return self.plan.ours(action, false);
        }
        let message = format!("machine {} is busy with another's session, {}", self.plan.key.machine_id, action.id);
        let mut error = Error::new(Kind::MachineBusy, message).with_hint(
            "the service handed back an action that is not ours; wait for it with on_busy=\"wait\", or try again later",
        );
        error.active_action_id = Some(action.id);
        self.busy(error).await
    }

    async fn read_again(&self, action_id: &str) -> Option<MachineAction> {
        for pause in self.plan.pauses() {
            self.plan.sessions.pipeline.clock.sleep(pause).await;
            match self.plan.sessions.pipeline.machine_action(action_id).await {
                Ok(action) if action.requestor_comment.is_some() => return Some(action),
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
    async fn busy(&self, mut error: Error) -> Verdict {
        match self.plan.look().await {
            Ok(Some(action)) => self.plan.ours(action, true),
            Ok(None) => {
                if error.active_action_id.is_none() {
                    error.active_action_id = self.plan.active_action().await;
                }
                Verdict::Busy(error)
            }
            Err(unreadable) => Verdict::Unknown(self.plan.unknown(&error, &unreadable)),
        }
    }

    /// Looks for the action over the settle time; where it is in no look, posts once more.
    async fn settle_and_repeat(&self, error: Error) -> Verdict {
        log::warn!(target: LOG, "{error}; looking for the action at the service");
        match self.settle().await {
            Ok(Some(action)) => return self.plan.ours(action, false),
            Err(unreadable) => return Verdict::Unknown(self.plan.unknown(&error, &unreadable)),
            Ok(None) if (self.caller_left)() => return Verdict::Refused(error),
            Ok(None) => {}
        }
        log::warn!(target: LOG, "no action was started on machine {}; submitting once more", self.plan.key.machine_id);
        let pass = self.plan.memory.line(Operation::RunLiveResponse).enter().await;
        match self.post(pass).await {
            Verdict::Ours(action, _) => Verdict::Ours(action, false),
            Verdict::Unknown(error) => match self.settle().await {
                Ok(Some(action)) => self.plan.ours(action, false),
                Err(unreadable) => Verdict::Unknown(self.plan.unknown(&error, &unreadable)),
                Ok(None) => Verdict::Unknown(error.with_hint(
                    "the action is not in the service's list; the same call with the same correlation_id looks for it \
                     again before it submits",
                )),
            },
            verdict => verdict,
        }
    }

    /// The action, if it is in any look over the settle time. Only the last look says that there is none.
    pub async fn settle(&self) -> Result<Option<MachineAction>> {
        let mut last = Ok(None);
        for pause in self.plan.pauses() {
            self.plan.sessions.pipeline.clock.sleep(pause).await;
            last = self.plan.look().await;
            if let Ok(Some(_)) = last {
                break;
            }
        }
        last
    }
}

impl Plan {
    /// What this intent came to before, as the store and the service's list have it.
    pub async fn found_again(&self, look: bool) -> Result<Option<MachineAction>> {
        let progress = self.intent.progress();
        if let Some(action_id) = progress.action_id {
            let action = self.sessions.pipeline.machine_action(&action_id).await.map_err(|error| self.about(error))?;
            return Ok(Some(action));
        }
        if !look {
            return Ok(None);
        }
        let found = if progress.posted { Exchange::new(self, &|| false).settle().await } else { self.look().await };
        let found = found.map_err(|error| {
            let mut error = self.about(error);
            error.retryable = true;
            error
        })?;
        let Some(action) = found else { return Ok(None) };
        if !self.same_commands(&action) {
            return Err(self.other_commands());
        }
        self.intent.set_action(&action.id);
        Ok(Some(action))
    }

    /// Looks our tag up among this machine's live response actions.
    pub async fn look(&self) -> Result<Option<MachineAction>> {
        self.sessions.tagged(&self.key.machine_id, &self.tag).await
    }

    /// Whatever runs on the machine now, where a list shows it.
    pub async fn active_action(&self) -> Option<String> {
        let on_machine = on_machine(&self.key.machine_id);
        let filter = format!("{on_machine} and (status eq 'Pending' or status eq 'InProgress')");
        let actions = self.sessions.pipeline.machine_actions(Some(&filter), Some(1)).await.ok()?;
        actions.into_iter().next().map(|action| action.id)
    }

    fn same_commands(&self, action: &MachineAction) -> bool {
        let told = action.commands.iter().map(|entry| &entry.command);
        action.commands.is_empty() || told.eq(self.commands.iter())
    }

    fn ours(&self, action: MachineAction, was_there: bool) -> Verdict {
        if self.same_commands(&action) {
            return Verdict::Ours(Box::new(action), was_there);
        }
        Verdict::Refused(self.other_commands())
    }

    fn unknown(&self, error: &Error, unreadable: &Error) -> Error {
        let message = format!(
            "machine {} may or may not have been submitted to ({error}), and the service could not be asked: {unreadable}",
            self.key.machine_id
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
    /// The action that bears `tag` among the machine's live response actions.
    pub(super) async fn tagged(&self, machine_id: &str, tag: &Tag) -> Result<Option<MachineAction>> {
        let actions = self.pipeline.machine_actions(Some(&on_machine(machine_id)), None).await?;
        Ok(actions.into_iter().find(|action| tag.is_on(action)))
    }
}

fn on_machine(machine_id: &str) -> String {
    format!("type eq 'LiveResponse' and machineId eq {}", literal(machine_id))
}
