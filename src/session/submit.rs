//! SubmitRequest once and prove it ours. The steps are those of the design: check, intent, admission, POST, the answer, the id.

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

use super::admission::{check_correlation_id, intent_key};
use super::post::PostAttempt;
use super::wait_limit::WaitLimit;
use super::{PostGuard, Session, Sessions, Tag, span_attributes};
use crate::classify::Throttle;
use crate::error::{Error, Kind, Result};
use crate::limits::{Admission, BegunIntent, IntentLease, Quota};
use crate::model::{Command, CommandType, MachineAction, check_commands};
use crate::operation::Operation;
use crate::retry::{self, AttemptFailure, Decision, RetryPolicy};
use crate::state::store::IntentKey;
use crate::trace;
use crate::trace::LOG_TARGET;

/// One intended submit.
#[derive(Clone, Debug)]
pub struct SubmitRequest {
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
pub struct SubmitOptions {
    /// The correlation id was made for this: what the store has not noted as posted was not posted.
    pub new_correlation_id: bool,
    /// Told when the submit leaves the line.
    pub on_admitted: Option<Arc<Notify>>,
}

/// What one POST, and the look at what became of it, came to.
#[derive(Debug)]
pub enum PostOutcome {
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
    NotStarted(Error),
}

/// A submit under way: what every step of it needs.
#[derive(Clone)]
pub(super) struct SubmitPlan {
    pub sessions: Arc<Sessions>,
    pub quota: Arc<Quota>,
    /// Held by every part of this submit; nobody else in whatever process is at the same intent.
    pub intent_lease: Arc<IntentLease>,
    pub commands: Arc<[Command]>,
    pub tag: Tag,
    pub comment: String,
    /// The correlation id is the caller's: others may use it too.
    pub has_caller_id: bool,
    /// The store lost its memory so lately that an earlier POST of this intent may not be listed yet.
    pub store_was_reset: bool,
    /// Seconds for which the service may hold the machine for this at the most.
    pub slot_ttl: f64,
    /// Told when the submit leaves the line.
    pub on_admitted: Option<Arc<Notify>>,
}

/// What a submit went through so far.
#[derive(Default)]
struct RetryState {
    started: f64,
    posts: u32,
    unsent: u32,
    busy: u32,
    at_session_cap: u32,
    throttled: u32,
    token_was_refused: bool,
    check_first: bool,
}

impl SubmitRequest {
    /// Refuses what the service would refuse, before any request.
    pub fn check(&self) -> Result<()> {
        check_commands(&self.commands)?;
        if self.comment.trim().is_empty() {
            return Err(Error::invalid("a submit needs a comment")
                .with_hint("say why: it is kept with the action"));
        }
        check_correlation_id(self.correlation_id.as_deref().unwrap_or("-"))
    }

    /// Seconds for which the service may hold the machine for this at the most.
    fn slot_ttl(&self, limits: &crate::config::Limits) -> f64 {
        let scripts = self
            .commands
            .iter()
            .filter(|command| command.command_type() == Some(CommandType::RunScript));
        limits.queue_time + limits.settle_time + limits.script_time * (scripts.count() + 1) as f64
    }
}

impl Sessions {
    /// Submits exactly once. `timeout` seconds are of standing in line; a POST on its way is settled first.
    pub async fn submit(
        self: &Arc<Self>,
        submit: SubmitRequest,
        timeout: Option<f64>,
    ) -> Result<Session> {
        self.submit_with_options(submit, timeout, SubmitOptions::default()).await
    }

    pub async fn submit_with_options(
        self: &Arc<Self>,
        submit: SubmitRequest,
        timeout: Option<f64>,
        options: SubmitOptions,
    ) -> Result<Session> {
        let machine_id = submit.machine_id.clone();
        let submitting = self.submit_inner(submit, timeout, options);
        let session = trace::in_span(
            "live_response submit",
            || span_attributes::for_machine(&machine_id),
            submitting,
            span_attributes::for_session,
        )
        .await?;
        log::info!(
            target: LOG_TARGET,
            "session {} on machine {machine_id} was {}, correlation id {}",
            session.id,
            if session.adopted { "taken up" } else { "started" },
            session.correlation_id.as_deref().unwrap_or("not known"),
        );
        Ok(session)
    }

    async fn submit_inner(
        self: &Arc<Self>,
        submit: SubmitRequest,
        timeout: Option<f64>,
        options: SubmitOptions,
    ) -> Result<Session> {
        submit.check()?;
        let has_caller_id = submit.correlation_id.is_some();
        let correlation_id =
            submit.correlation_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let key = intent_key(&submit.machine_id, &correlation_id)?;
        let (quota_key, quota) = self.pipeline.shared_quota().await?;
        let clock = self.pipeline.clock;
        let wait_limit =
            WaitLimit { deadline: timeout.map(|seconds| clock.now() + seconds), timeout, clock };
        let tag = Tag::new(&quota_key, &key.machine_id, &key.correlation_id);
        let comment = tag.append_to(&submit.comment);
        let begun = wait_limit.wait_for(quota.begin_intent(&key, &submit.commands, &comment)).await;
        let begun = match begun {
            Ok(begun) => begun.map_err(|error| annotate(&key, error))?,
            Err(elapsed) => return Err(annotate(&key, elapsed.into_error(&key.machine_id, false))),
        };
        let BegunIntent { found, intent_lease: Some(intent_lease) } = begun else {
            return Err(commands_mismatch_error(&key));
        };
        if let Some(action_id) = found.intent.action_id {
            return Ok(self.load_session(&key, &action_id).await);
        }
        let limits = &self.pipeline.options.limits;
        let plan = SubmitPlan {
            sessions: self.clone(),
            quota,
            intent_lease: Arc::new(intent_lease),
            commands: submit.commands.as_slice().into(),
            comment,
            tag,
            has_caller_id,
            store_was_reset: has_caller_id
                && found.since_state_loss.is_some_and(|seconds| seconds < limits.settle_time),
            slot_ttl: submit.slot_ttl(limits),
            on_admitted: options.on_admitted,
        };
        let never_posted =
            options.new_correlation_id && !found.intent.posted && !plan.store_was_reset;
        let existing = if never_posted { None } else { plan.find_existing(&wait_limit).await? };
        match existing {
            Some(session) => Ok(session),
            None => plan.submit_until_done(&submit, &wait_limit).await,
        }
    }
}

impl SubmitPlan {
    async fn submit_until_done(
        &self,
        submit: &SubmitRequest,
        wait_limit: &WaitLimit,
    ) -> Result<Session> {
        // What we have open is looked at meanwhile, since nobody else may be waiting for it to end.
        let _slot_watch = self.sessions.poller.watch_slots();
        let mut retries =
            RetryState { started: self.sessions.pipeline.clock.now(), ..RetryState::default() };
        loop {
            // A try of this call that was lost may have landed meanwhile; or it was a sibling's submit with our own id.
            let was_lost = retries.posts > 0 && self.intent_lease.is_posted();
            if (retries.check_first || was_lost)
                && let Some(session) = self.find_existing(wait_limit).await?
            {
                return Ok(Session { adopted: !was_lost, ..session });
            }
            let admission = self.admission(submit, wait_limit).await?;
            if let Some(on_admitted) = &self.on_admitted {
                on_admitted.notify_one();
            }
            retries.posts += 1;
            match self.post_in_background(admission, retries.posts).await? {
                PostOutcome::Ours(action, already_existed) => {
                    return Ok(self.to_session(&action, already_existed));
                }
                outcome => self.wait_for_retry(outcome, submit, wait_limit, &mut retries).await?,
            }
        }
    }

    /// Waits until it is worth to try again; an error where it never will be.
    async fn wait_for_retry(
        &self,
        outcome: PostOutcome,
        submit: &SubmitRequest,
        wait_limit: &WaitLimit,
        retries: &mut RetryState,
    ) -> Result<()> {
        let limits = &self.sessions.pipeline.options.limits;
        let clock = self.sessions.pipeline.clock;
        let cap_deadline =
            wait_limit.deadline.unwrap_or(retries.started + limits.queue_time + limits.script_time);
        retries.check_first = matches!(outcome, PostOutcome::Busy(..));
        match outcome {
            PostOutcome::Busy(error, _) if submit.wait_if_busy => {
                retries.busy += 1;
                wait_limit
                    .enforce(
                        self,
                        self.wait_until_machine_free(
                            retries.busy,
                            error.active_action_id.is_some(),
                        ),
                    )
                    .await
            }
            PostOutcome::Throttled(Throttle::Rate { wait }, error) => {
                retries.throttled += 1;
                self.hold_submit_queue(retries.throttled, wait, &error).await
            }
            PostOutcome::Throttled(Throttle::SessionCap, error) if clock.now() <= cap_deadline => {
                retries.at_session_cap += 1;
                log::warn!(target: LOG_TARGET, "{error}; waiting for a session to end");
                wait_limit.enforce(self, self.wait_for_session_slot(retries.at_session_cap)).await
            }
            PostOutcome::TokenRefused(error) if !retries.token_was_refused => {
                log::warn!(target: LOG_TARGET, "{error}; trying again with a fresh token");
                retries.token_was_refused = true;
                Ok(())
            }
            PostOutcome::NotSent(error) => {
                retries.unsent += 1;
                match retry::decide(
                    retries.unsent,
                    &AttemptFailure::NotSent,
                    false,
                    &RetryPolicy::default(),
                    fastrand::f64(),
                ) {
                    Decision::Retry { after } => {
                        log::warn!(target: LOG_TARGET, "{error}; trying again in {after:.1} s");
                        wait_limit.enforce(self, clock.sleep(after)).await
                    }
                    Decision::GiveUp => Err(self.annotate(error)),
                }
            }
            PostOutcome::Ours(..) => Ok(()),
            PostOutcome::Busy(error, _)
            | PostOutcome::Throttled(_, error)
            | PostOutcome::TokenRefused(error)
            | PostOutcome::Refused(error)
            | PostOutcome::Unknown(error)
            | PostOutcome::NotStarted(error) => Err(self.annotate(error)),
        }
    }

    /// POST number `attempt` and the settling of it: they finish in the background if the caller leaves.
    async fn post_in_background(&self, admission: Admission, attempt: u32) -> Result<PostOutcome> {
        let (sender, receiver) = oneshot::channel();
        let plan = self.clone();
        let guard = PostGuard::new();
        trace::spawn(async move {
            let outcome =
                PostAttempt::new(&plan, &|| sender.is_closed(), attempt).run(admission).await;
            if let Err(unclaimed) = sender.send(outcome) {
                plan.warn_abandoned(&unclaimed);
            }
            drop(guard);
        });
        receiver.await.map_err(|_| {
            let message = format!(
                "the submit to machine {} was cut off by the end of the process",
                self.intent_lease.key.machine_id
            );
            self.annotate(Error::new(Kind::SubmitUnknown, message))
        })
    }

    fn warn_abandoned(&self, outcome: &PostOutcome) {
        let machine = &self.intent_lease.key.machine_id;
        match outcome {
            PostOutcome::Ours(action, _) => log::warn!(
                target: LOG_TARGET,
                "a submit to machine {machine} was left by its caller, and started: session {} goes on (correlation id {})",
                action.id, self.intent_lease.key.correlation_id
            ),
            PostOutcome::Unknown(error) | PostOutcome::NotStarted(error) => log::warn!(
                target: LOG_TARGET,
                "a submit to machine {machine} was left by its caller, and may have started: {error} (correlation id {})",
                self.intent_lease.key.correlation_id
            ),
            other => {
                log::warn!(target: LOG_TARGET, "a submit to machine {machine} was left by its caller, and started nothing: {other}");
            }
        }
    }

    /// A rate's 429 holds back every submit. `retries`: how many there were.
    async fn hold_submit_queue(
        &self,
        retries: u32,
        wait: Option<f64>,
        error: &Error,
    ) -> Result<()> {
        let limits = &self.sessions.pipeline.options.limits;
        let window = limits.submit.iter().map(|rate| rate.per).reduce(f64::min).unwrap_or_default();
        let policy = RetryPolicy { window, ..RetryPolicy::default() };
        let decision = retry::decide(
            retries,
            &AttemptFailure::Status(429, wait),
            false,
            &policy,
            fastrand::f64(),
        );
        let Decision::Retry { after } = decision else { return Ok(()) };
        log::warn!(target: LOG_TARGET, "{error}; trying again in {after:.1} s");
        self.quota
            .block_window(Operation::RunLiveResponse, after)
            .await
            .map_err(|error| self.annotate(error))
    }

    fn to_session(&self, action: &MachineAction, adopted: bool) -> Session {
        Session { adopted, ..self.sessions.session_from_action(&self.intent_lease.key, action) }
    }

    pub fn commands_mismatch_error(&self) -> Error {
        commands_mismatch_error(&self.intent_lease.key)
    }

    pub fn annotate(&self, error: Error) -> Error {
        annotate(&self.intent_lease.key, error)
    }
}

fn commands_mismatch_error(key: &IntentKey) -> Error {
    let message =
        format!("correlation id {:?} was submitted with other commands", key.correlation_id);
    annotate(key, Error::invalid(message).with_hint("use a new correlation id for new commands"))
}

fn annotate(key: &IntentKey, mut error: Error) -> Error {
    error.machine_id = Some(key.machine_id.clone());
    error.correlation_id = Some(key.correlation_id.clone());
    error
}

impl std::fmt::Display for PostOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ours(action, _) => write!(f, "session {}", action.id),
            Self::Busy(error, _)
            | Self::Throttled(_, error)
            | Self::NotSent(error)
            | Self::TokenRefused(error)
            | Self::Refused(error)
            | Self::Unknown(error)
            | Self::NotStarted(error) => error.fmt(f),
        }
    }
}
