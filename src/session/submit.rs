//! Submit once and prove it ours. The steps are those of the design: check, intent, admission, POST, the answer, the id.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tokio::sync::oneshot;

use super::settle::Exchange;
use super::{PostGuard, Session, Sessions, Tag};
use crate::classify::Throttle;
use crate::clock::seconds_to_duration;
use crate::error::{Error, Kind, Result};
use crate::model::{Command, CommandType, MachineAction, check_commands};
use crate::pipeline::LOG;
use crate::retry::{self, Decision, Outcome, Policy};
use crate::state::{Admission, Intent, IntentKey, Memory};

/// One intended submit.
#[derive(Clone, Debug)]
pub struct Submit {
    pub machine_id: String,
    pub commands: Vec<Command>,
    pub comment: String,
    /// None: one of its own, that nobody can ask for again.
    pub correlation_id: Option<String>,
    /// Wait for a machine that is busy, instead of an error.
    pub wait_if_busy: bool,
}

/// What one POST, and the look at what became of it, came to.
#[derive(Debug)]
pub enum Verdict {
    /// The action is ours; whether it had been there before the POST.
    Ours(Box<MachineAction>, bool),
    /// Another's action is on the machine, and where it can be seen, which.
    Busy(Error),
    Throttled(Throttle, Error),
    NotSent(Error),
    TokenRefused(Error),
    Refused(Error),
    /// It may or may not have been taken: the intent and the slot stay.
    Unknown(Error),
}

/// A submit under way: what every step of it needs.
#[derive(Clone)]
pub(super) struct Plan {
    pub sessions: Arc<Sessions>,
    pub memory: Arc<Memory>,
    pub intent: Arc<Intent>,
    pub key: IntentKey,
    pub tag: Tag,
    pub commands: Arc<[Command]>,
    pub comment: String,
}

impl Submit {
    /// Refuses what the service would refuse, before any request.
    pub fn check(&self) -> Result<()> {
        check_commands(&self.commands)?;
        if self.comment.trim().is_empty() {
            return Err(Error::invalid("a submit needs a comment").with_hint("say why: it is kept with the action"));
        }
        let length = self.correlation_id.as_ref().map_or(1, |id| id.chars().count());
        if !(1..=128).contains(&length) {
            return Err(Error::invalid(format!("a correlation id of {length} characters; it takes 1 to 128")));
        }
        Ok(())
    }

    /// How long the service may hold the machine for this at the most.
    fn lease(&self, limits: &crate::config::Limits) -> f64 {
        let scripts = self.commands.iter().filter(|command| command.command_type() == Some(CommandType::RunScript));
        limits.queue_time + limits.settle_time + limits.script_time * (scripts.count() + 1) as f64
    }
}

impl Sessions {
    /// Submits exactly once. `timeout` seconds are of standing in line; a POST on its way is settled first.
    pub async fn submit(self: &Arc<Self>, submit: Submit, timeout: Option<f64>) -> Result<Session> {
        submit.check()?;
        let (quota, memory) = self.pipeline.state().await?;
        let given = submit.correlation_id.is_some();
        let correlation_id = submit.correlation_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let key = IntentKey { machine_id: submit.machine_id.clone(), correlation_id };
        let tag = Tag::new(&quota, &key.machine_id, &key.correlation_id);
        let (intent, known) = memory.intent(&key, &submit.commands);
        let plan = Plan {
            sessions: self.clone(),
            memory,
            intent,
            comment: tag.comment(&submit.comment),
            tag,
            key,
            commands: submit.commands.clone().into(),
        };
        if plan.intent.commands != submit.commands {
            return Err(plan.other_commands());
        }
        let clock = self.pipeline.clock;
        let patience = Patience { deadline: timeout.map(|seconds| clock.now() + seconds), timeout, clock };
        let turn = patience.bound(&plan, plan.intent.turn.clone().lock_owned()).await?;
        if let Some(action) = plan.found_again(known || given).await? {
            return Ok(plan.session(&action, true));
        }
        plan.until_submitted(&submit, turn, &patience).await
    }
}

/// How long the caller stands in line.
pub(super) struct Patience {
    deadline: Option<f64>,
    timeout: Option<f64>,
    clock: crate::clock::Clock,
}

impl Patience {
    /// Waits for `waiting`, unless the caller's time is over first: then nothing was sent, and the intent is withdrawn.
    pub async fn bound<T>(&self, plan: &Plan, waiting: impl Future<Output = T>) -> Result<T> {
        let Some(deadline) = self.deadline else { return Ok(waiting.await) };
        let left = seconds_to_duration(deadline - self.clock.now());
        match tokio::time::timeout(left, waiting).await {
            Ok(value) => Ok(value),
            Err(_) => Err(plan.gave_up(self.timeout.unwrap_or_default())),
        }
    }
}

impl Plan {
    async fn until_submitted(
        &self,
        submit: &Submit,
        turn: OwnedMutexGuard<()>,
        patience: &Patience,
    ) -> Result<Session> {
        let limits = &self.sessions.pipeline.options.limits;
        let clock = self.sessions.pipeline.clock;
        let cap_patience = clock.now() + limits.queue_time + limits.script_time;
        let turn = Arc::new(turn);
        let (mut unsent, mut busy, mut token_was_refused) = (0, 0, false);
        loop {
            let admission = self.admission(submit, patience).await?;
            match self.post_in_background(admission, turn.clone()).await? {
                Verdict::Ours(action, was_there) => return Ok(self.session(&action, was_there)),
                Verdict::Busy(error) if !submit.wait_if_busy => return Err(self.withdrawn(error)),
                Verdict::Busy(_) => {
                    busy += 1;
                    patience.bound(self, self.until_free(busy)).await?;
                }
                Verdict::Throttled(Throttle::Rate { wait }, error) => self.hold_back(wait, &error),
                Verdict::Throttled(Throttle::SessionCap, error) if clock.now() > cap_patience => {
                    return Err(self.withdrawn(error));
                }
                Verdict::Throttled(Throttle::SessionCap, error) => {
                    log::warn!(target: LOG, "{error}; waiting for a session to end");
                    patience.bound(self, self.until_a_session_ends()).await?;
                }
                Verdict::TokenRefused(_) if !token_was_refused => token_was_refused = true,
                Verdict::NotSent(error) => {
                    unsent += 1;
                    match retry::decide(unsent, &Outcome::NotSent, false, &Policy::default(), fastrand::f64()) {
                        Decision::Retry { after } => patience.bound(self, clock.sleep(after)).await?,
                        Decision::GiveUp => return Err(self.withdrawn(error)),
                    }
                }
                Verdict::TokenRefused(error) | Verdict::Refused(error) => return Err(self.withdrawn(error)),
                Verdict::Unknown(error) => return Err(self.about(error)),
            }
        }
    }

    /// Stands in line. Meanwhile what we have open is looked at, since nobody else may be waiting for it to end.
    async fn admission(&self, submit: &Submit, patience: &Patience) -> Result<Admission> {
        let lease = submit.lease(&self.sessions.pipeline.options.limits);
        let admitted = self.memory.admit(&self.key.machine_id, lease, submit.wait_if_busy);
        let standing = async {
            tokio::select! {
                admitted = admitted => admitted,
                never = self.keep_looking() => match never {},
            }
        };
        patience.bound(self, standing).await?.map_err(|occupied| {
            let message = format!("machine {} is busy with a session of ours", self.key.machine_id);
            let mut error = Error::new(Kind::MachineBusy, message)
                .with_hint("wait for it with on_busy=\"wait\", or follow it with session(active_action_id)");
            error.active_action_id = occupied.action_id;
            self.withdrawn(error)
        })
    }

    /// The POST and the settling of it: they finish in the background if the caller leaves.
    async fn post_in_background(&self, admission: Admission, turn: Arc<OwnedMutexGuard<()>>) -> Result<Verdict> {
        let (tell, told) = oneshot::channel();
        let plan = self.clone();
        let guard = PostGuard::new();
        tokio::spawn(async move {
            let verdict = Exchange::new(&plan, &|| tell.is_closed()).run(admission).await;
            if let Err(unheard) = tell.send(verdict) {
                plan.warn_of(&unheard);
            }
            drop((turn, guard));
        });
        told.await.map_err(|_| {
            let message =
                format!("the submit to machine {} was cut off by the end of the process", self.key.machine_id);
            self.about(Error::new(Kind::SubmitUnknown, message))
        })
    }

    fn warn_of(&self, verdict: &Verdict) {
        let machine = &self.key.machine_id;
        match verdict {
            Verdict::Ours(action, _) => log::warn!(
                target: LOG,
                "a submit to machine {machine} was left by its caller, and started: session {} goes on (correlation id {})",
                action.id, self.key.correlation_id
            ),
            Verdict::Unknown(error) => log::warn!(
                target: LOG,
                "a submit to machine {machine} was left by its caller, and may have started: {error} (correlation id {})",
                self.key.correlation_id
            ),
            other => {
                self.memory.withdraw(&self.key);
                log::warn!(target: LOG, "a submit to machine {machine} was left by its caller, and started nothing: {other}");
            }
        }
    }

    fn hold_back(&self, wait: Option<f64>, error: &Error) {
        let limits = &self.sessions.pipeline.options.limits;
        let window = limits.submit.iter().map(|rate| rate.per).fold(1.0, f64::min);
        let wait = wait.unwrap_or(window);
        log::warn!(target: LOG, "{error}; trying again in {wait:.1} s");
        self.memory.line(crate::operation::Operation::RunLiveResponse).hold(wait);
    }

    pub fn session(&self, action: &MachineAction, adopted: bool) -> Session {
        let session = Session {
            machine_id: Some(self.key.machine_id.clone()),
            correlation_id: Some(self.key.correlation_id.clone()),
            adopted,
            ..self.sessions.session(&action.id)
        };
        session.saw(action);
        session
    }

    pub fn other_commands(&self) -> Error {
        let message = format!("correlation id {:?} was submitted with other commands", self.key.correlation_id);
        self.about(Error::invalid(message).with_hint("use a new correlation id for new commands"))
    }

    fn gave_up(&self, timeout: f64) -> Error {
        let message = format!("no turn to submit to machine {} within {timeout} s", self.key.machine_id);
        let error = Error::new(Kind::WaitTimeout, message)
            .with_hint("nothing was sent: submit again, with a longer timeout where the limits are shared by many");
        let mut error = self.withdrawn(error);
        error.retryable = true;
        error
    }

    /// An error after which nothing of the intent is at the service.
    fn withdrawn(&self, error: Error) -> Error {
        if !self.intent.progress().posted {
            self.memory.withdraw(&self.key);
        }
        self.about(error)
    }

    pub fn about(&self, mut error: Error) -> Error {
        error.machine_id = Some(self.key.machine_id.clone());
        error.correlation_id = Some(self.key.correlation_id.clone());
        error
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ours(action, _) => write!(f, "session {}", action.id),
            Self::Busy(error)
            | Self::Throttled(_, error)
            | Self::NotSent(error)
            | Self::TokenRefused(error)
            | Self::Refused(error)
            | Self::Unknown(error) => error.fmt(f),
        }
    }
}
