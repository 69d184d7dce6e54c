//! Submit once and prove it ours. The steps are those of the design: check, intent, admission, POST, the answer, the id.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::busy::{check_correlation_id, key};
use super::patience::Patience;
use super::settle::Exchange;
use super::{PostGuard, Session, Sessions, Tag, spans};
use crate::classify::Throttle;
use crate::error::{Error, Kind, Result};
use crate::limits::{Admission, Begun, Quota, Turn};
use crate::model::{Command, CommandType, MachineAction, check_commands};
use crate::operation::Operation;
use crate::retry::{self, Decision, Outcome, Policy};
use crate::state::store::IntentKey;
use crate::trace;
use crate::trace::LOG;

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

/// What a fleet knows of a submit, and is told of it.
#[derive(Clone, Debug, Default)]
pub struct Guidance {
    /// The correlation id was made for this: what the store has not noted as posted was not posted.
    pub fresh: bool,
    /// Told when the submit leaves the line.
    pub admitted: Option<Arc<Notify>>,
}

/// What one POST, and the look at what became of it, came to.
#[derive(Debug)]
pub enum Verdict {
    /// The action is ours; whether it had been there before the POST.
    Ours(Box<MachineAction>, bool),
    /// Another's action is on the machine, and where it can be seen, which; and the one that the service's list shows.
    Busy(Error, Option<String>),
    Throttled(Throttle, Error),
    NotSent(Error),
    TokenRefused(Error),
    Refused(Error),
    /// It may or may not have been taken: the intent and the slot stay.
    Unknown(Error),
    /// It was tried twice, and the list shows nothing: the intent stays, the slot is free.
    NotThere(Error),
}

/// A submit under way: what every step of it needs.
#[derive(Clone)]
pub(super) struct Plan {
    pub sessions: Arc<Sessions>,
    pub quota: Arc<Quota>,
    /// Held by every part of this submit; nobody else in whatever process is at the same intent.
    pub turn: Arc<Turn>,
    pub commands: Arc<[Command]>,
    pub tag: Tag,
    pub comment: String,
    /// The correlation id is the caller's: others may use it too.
    pub given: bool,
    /// The store lost its memory so lately that an earlier POST of this intent may not be listed yet.
    pub forgotten: bool,
    /// Seconds for which the service may hold the machine for this at the most.
    pub lease: f64,
    /// Told when the submit leaves the line.
    pub admitted: Option<Arc<Notify>>,
}

/// What a submit went through so far.
#[derive(Default)]
struct Rounds {
    started: f64,
    posts: u32,
    unsent: u32,
    busy: u32,
    full: u32,
    throttled: u32,
    token_was_refused: bool,
    look_first: bool,
}

impl Submit {
    /// Refuses what the service would refuse, before any request.
    pub fn check(&self) -> Result<()> {
        check_commands(&self.commands)?;
        if self.comment.trim().is_empty() {
            return Err(Error::invalid("a submit needs a comment").with_hint("say why: it is kept with the action"));
        }
        check_correlation_id(self.correlation_id.as_deref().unwrap_or("-"))
    }

    /// Seconds for which the service may hold the machine for this at the most.
    fn lease(&self, limits: &crate::config::Limits) -> f64 {
        let scripts = self.commands.iter().filter(|command| command.command_type() == Some(CommandType::RunScript));
        limits.queue_time + limits.settle_time + limits.script_time * (scripts.count() + 1) as f64
    }
}

impl Sessions {
    /// Submits exactly once. `timeout` seconds are of standing in line; a POST on its way is settled first.
    pub async fn submit(self: &Arc<Self>, submit: Submit, timeout: Option<f64>) -> Result<Session> {
        self.submit_guided(submit, timeout, Guidance::default()).await
    }

    pub async fn submit_guided(
        self: &Arc<Self>,
        submit: Submit,
        timeout: Option<f64>,
        guidance: Guidance,
    ) -> Result<Session> {
        let machine_id = submit.machine_id.clone();
        let submitting = self.submitted(submit, timeout, guidance);
        let session =
            trace::within("live_response submit", || spans::of_machine(&machine_id), submitting, spans::of_session)
                .await?;
        log::info!(
            target: LOG,
            "session {} on machine {machine_id} was {}, correlation id {}",
            session.id,
            if session.adopted { "taken up" } else { "started" },
            session.correlation_id.as_deref().unwrap_or("not known"),
        );
        Ok(session)
    }

    async fn submitted(self: &Arc<Self>, submit: Submit, timeout: Option<f64>, guidance: Guidance) -> Result<Session> {
        submit.check()?;
        let given = submit.correlation_id.is_some();
        let correlation_id = submit.correlation_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let key = key(&submit.machine_id, &correlation_id)?;
        let (quota_key, quota) = self.pipeline.state().await?;
        let clock = self.pipeline.clock;
        let patience = Patience { deadline: timeout.map(|seconds| clock.now() + seconds), timeout, clock };
        let tag = Tag::new(&quota_key, &key.machine_id, &key.correlation_id);
        let comment = tag.comment(&submit.comment);
        let begun = patience.wait_for(quota.begin(&key, &submit.commands, &comment)).await;
        let begun = match begun {
            Ok(begun) => begun.map_err(|error| about(&key, error))?,
            Err(elapsed) => return Err(about(&key, elapsed.into_error(&key.machine_id, false))),
        };
        let Begun { found, turn: Some(turn) } = begun else { return Err(other_commands(&key)) };
        if let Some(action_id) = found.intent.action_id {
            return Ok(self.known(&key, &action_id).await);
        }
        let limits = &self.pipeline.options.limits;
        let plan = Plan {
            sessions: self.clone(),
            quota,
            turn: Arc::new(turn),
            commands: submit.commands.as_slice().into(),
            comment,
            tag,
            given,
            forgotten: given && found.lost_since.is_some_and(|seconds| seconds < limits.settle_time),
            lease: submit.lease(limits),
            admitted: guidance.admitted,
        };
        let never_posted = guidance.fresh && !found.intent.posted && !plan.forgotten;
        let found_again = if never_posted { None } else { plan.found_again(&patience).await? };
        match found_again {
            Some(session) => Ok(session),
            None => plan.until_submitted(&submit, &patience).await,
        }
    }
}

impl Plan {
    async fn until_submitted(&self, submit: &Submit, patience: &Patience) -> Result<Session> {
        // What we have open is looked at meanwhile, since nobody else may be waiting for it to end.
        let _attending = self.sessions.poller.attend();
        let mut rounds = Rounds { started: self.sessions.pipeline.clock.now(), ..Rounds::default() };
        loop {
            // A try of this call that was lost may have landed meanwhile; or it was a sibling's submit with our own id.
            let was_lost = rounds.posts > 0 && self.turn.is_posted();
            if (rounds.look_first || was_lost)
                && let Some(session) = self.found_again(patience).await?
            {
                return Ok(Session { adopted: !was_lost, ..session });
            }
            let admission = self.admission(submit, patience).await?;
            if let Some(admitted) = &self.admitted {
                admitted.notify_one();
            }
            rounds.posts += 1;
            match self.post_in_background(admission, rounds.posts).await? {
                Verdict::Ours(action, was_there) => return Ok(self.session(&action, was_there)),
                verdict => self.until_the_next(verdict, submit, patience, &mut rounds).await?,
            }
        }
    }

    /// Waits until it is worth to try again; an error where it never will be.
    async fn until_the_next(
        &self,
        verdict: Verdict,
        submit: &Submit,
        patience: &Patience,
        rounds: &mut Rounds,
    ) -> Result<()> {
        let limits = &self.sessions.pipeline.options.limits;
        let clock = self.sessions.pipeline.clock;
        let cap_deadline = patience.deadline.unwrap_or(rounds.started + limits.queue_time + limits.script_time);
        rounds.look_first = matches!(verdict, Verdict::Busy(..));
        match verdict {
            Verdict::Busy(error, _) if submit.wait_if_busy => {
                rounds.busy += 1;
                patience.bound(self, self.until_free(rounds.busy, error.active_action_id.is_some())).await
            }
            Verdict::Throttled(Throttle::Rate { wait }, error) => {
                rounds.throttled += 1;
                self.hold_back(rounds.throttled, wait, &error).await
            }
            Verdict::Throttled(Throttle::SessionCap, error) if clock.now() <= cap_deadline => {
                rounds.full += 1;
                log::warn!(target: LOG, "{error}; waiting for a session to end");
                patience.bound(self, self.until_a_session_ends(rounds.full)).await
            }
            Verdict::TokenRefused(error) if !rounds.token_was_refused => {
                log::warn!(target: LOG, "{error}; trying again with a fresh token");
                rounds.token_was_refused = true;
                Ok(())
            }
            Verdict::NotSent(error) => {
                rounds.unsent += 1;
                match retry::decide(rounds.unsent, &Outcome::NotSent, false, &Policy::default(), fastrand::f64()) {
                    Decision::Retry { after } => {
                        log::warn!(target: LOG, "{error}; trying again in {after:.1} s");
                        patience.bound(self, clock.sleep(after)).await
                    }
                    Decision::GiveUp => Err(self.about(error)),
                }
            }
            Verdict::Ours(..) => Ok(()),
            Verdict::Busy(error, _)
            | Verdict::Throttled(_, error)
            | Verdict::TokenRefused(error)
            | Verdict::Refused(error)
            | Verdict::Unknown(error)
            | Verdict::NotThere(error) => Err(self.about(error)),
        }
    }

    /// POST number `attempt` and the settling of it: they finish in the background if the caller leaves.
    async fn post_in_background(&self, admission: Admission, attempt: u32) -> Result<Verdict> {
        let (tell, told) = oneshot::channel();
        let plan = self.clone();
        let guard = PostGuard::new();
        trace::spawn(async move {
            let verdict = Exchange::new(&plan, &|| tell.is_closed(), attempt).run(admission).await;
            if let Err(unheard) = tell.send(verdict) {
                plan.warn_of(&unheard);
            }
            drop(guard);
        });
        told.await.map_err(|_| {
            let message =
                format!("the submit to machine {} was cut off by the end of the process", self.turn.key.machine_id);
            self.about(Error::new(Kind::SubmitUnknown, message))
        })
    }

    fn warn_of(&self, verdict: &Verdict) {
        let machine = &self.turn.key.machine_id;
        match verdict {
            Verdict::Ours(action, _) => log::warn!(
                target: LOG,
                "a submit to machine {machine} was left by its caller, and started: session {} goes on (correlation id {})",
                action.id, self.turn.key.correlation_id
            ),
            Verdict::Unknown(error) | Verdict::NotThere(error) => log::warn!(
                target: LOG,
                "a submit to machine {machine} was left by its caller, and may have started: {error} (correlation id {})",
                self.turn.key.correlation_id
            ),
            other => {
                log::warn!(target: LOG, "a submit to machine {machine} was left by its caller, and started nothing: {other}");
            }
        }
    }

    /// A rate's 429 holds back every submit. `rounds`: how many there were.
    async fn hold_back(&self, rounds: u32, wait: Option<f64>, error: &Error) -> Result<()> {
        let limits = &self.sessions.pipeline.options.limits;
        let window = limits.submit.iter().map(|rate| rate.per).reduce(f64::min).unwrap_or_default();
        let policy = Policy { window, ..Policy::default() };
        let decision = retry::decide(rounds, &Outcome::Status(429, wait), false, &policy, fastrand::f64());
        let Decision::Retry { after } = decision else { return Ok(()) };
        log::warn!(target: LOG, "{error}; trying again in {after:.1} s");
        self.quota.hold(Operation::RunLiveResponse, after).await.map_err(|error| self.about(error))
    }

    fn session(&self, action: &MachineAction, adopted: bool) -> Session {
        Session { adopted, ..self.sessions.meant(&self.turn.key, action) }
    }

    pub fn other_commands(&self) -> Error {
        other_commands(&self.turn.key)
    }

    pub fn about(&self, error: Error) -> Error {
        about(&self.turn.key, error)
    }
}

fn other_commands(key: &IntentKey) -> Error {
    let message = format!("correlation id {:?} was submitted with other commands", key.correlation_id);
    about(key, Error::invalid(message).with_hint("use a new correlation id for new commands"))
}

fn about(key: &IntentKey, mut error: Error) -> Error {
    error.machine_id = Some(key.machine_id.clone());
    error.correlation_id = Some(key.correlation_id.clone());
    error
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ours(action, _) => write!(f, "session {}", action.id),
            Self::Busy(error, _)
            | Self::Throttled(_, error)
            | Self::NotSent(error)
            | Self::TokenRefused(error)
            | Self::Refused(error)
            | Self::Unknown(error)
            | Self::NotThere(error) => error.fmt(f),
        }
    }
}
