//! Submits a session exactly once. The steps, top to bottom: check the request, upload what its
//! commands bring, store the intent, find an existing action, wait for admission, POST, read the
//! response, return the action id.

use std::sync::Arc;

use super::history::SubmitHistory;
use super::lookup::Check;
use super::next_step::{NextStep, StepContext, SubmitTries, next_step};
use super::plan::{
    SubmitOptions, SubmitPlan, SubmitRequest, annotate, commands_mismatch_error, intent_key,
};
use super::wait_limit::{Sent, WaitLimit};
use super::{
    Session, Sessions, Tag, admission, lookup, new_ids, post_task, span_attributes, store_check,
};
use crate::error::{Error, Kind, Result};
use crate::limits::{BegunIntent, IntentLease, Quota};
use crate::operation::Operation;
use crate::state::store::{IntentKey, IntentLookup};
use crate::trace::{self, LOG_TARGET};

/// How often a submit may lose its lease to another process.
const MAX_LEASE_LOSSES: u32 = 5;

impl Sessions {
    /// Submits exactly once. `timeout` bounds the seconds in the queue; a POST that was sent is
    /// settled even after it.
    pub async fn submit(
        self: &Arc<Self>,
        request: SubmitRequest,
        timeout: Option<f64>,
    ) -> Result<Session> {
        self.submit_with_options(request, timeout, SubmitOptions::default()).await
    }

    pub async fn submit_with_options(
        self: &Arc<Self>,
        request: SubmitRequest,
        timeout: Option<f64>,
        options: SubmitOptions,
    ) -> Result<Session> {
        let machine_id = request.machine_id.clone();
        let submitting = self.submit_untraced(request, timeout, options);
        let session = trace::in_span(
            "live_response submit",
            || span_attributes::for_machine(&machine_id),
            submitting,
            span_attributes::for_session,
        )
        .await?;
        log::info!(
            target: LOG_TARGET,
            "session {} on machine {machine_id} {}, correlation id {}",
            session.id,
            if session.adopted { "already existed" } else { "started" },
            session.correlation_id.as_deref().unwrap_or("unknown"),
        );
        Ok(session)
    }

    /// Checks the request, stores the intent, and finds an action that already exists.
    async fn submit_untraced(
        self: &Arc<Self>,
        mut request: SubmitRequest,
        timeout: Option<f64>,
        options: SubmitOptions,
    ) -> Result<Session> {
        request.check()?;
        let correlation_id = match request.correlation_id.take_if(|id| new_ids::use_id(id)) {
            Some(new) => new,
            None => request.correlation_id.clone().unwrap_or_else(new_ids::generate),
        };
        let key = intent_key(&request.machine_id, &correlation_id)?;
        let wait_limit = WaitLimit::new(timeout, self.pipeline.clock);
        let request = self.upload_local_content(request, &key, &wait_limit).await?;
        for _ in 0..MAX_LEASE_LOSSES {
            if let Some(session) = self.try_submit(&request, &key, &options, &wait_limit).await? {
                return Ok(session);
            }
            log::warn!(
                target: LOG_TARGET,
                "this process was stopped during a submit to machine {}, and another process took \
                 over; waiting for its result",
                key.machine_id
            );
        }
        let message = format!(
            "could not submit to machine {}: this process is stopped again and again",
            key.machine_id
        );
        Err(annotate(&key, Error::new(Kind::State, message)))
    }

    /// Submits while it holds the lease of the intent. Returns none if it lost the lease.
    async fn try_submit(
        self: &Arc<Self>,
        request: &SubmitRequest,
        key: &IntentKey,
        options: &SubmitOptions,
        wait_limit: &WaitLimit,
    ) -> Result<Option<Session>> {
        let (quota_key, quota) = self.pipeline.shared_quota().await?;
        // Before the intent is stored: whether it may be missing depends on this.
        match wait_limit.wait_for(store_check::check_store(self, &quota)).await {
            Ok(checked) => checked.map_err(|error| annotate(key, error))?,
            Err(elapsed) => {
                return Err(annotate(
                    key,
                    elapsed.into_error(&key.machine_id, sent_before(request)),
                ));
            }
        }
        let tag = Tag::new(&quota_key, &key.machine_id, &key.correlation_id);
        let comment = tag.add_to(&request.comment);
        let (found, lease) = begin_intent(&quota, key, request, &comment, wait_limit).await?;
        if let Some(action_id) = found.intent.action_id {
            return Ok(Some(self.load_session(key, &action_id).await));
        }
        // The tag of an earlier submit may come from another name of the service.
        let (tag, comment) = match Tag::in_comment(&found.intent.comment) {
            Some(stored) => (stored, found.intent.comment.clone()),
            None => (tag, comment),
        };
        let plan = self.plan(request, options, quota, (tag, comment), &found, lease);
        let check = first_check(&plan, options.new_correlation_id).await;
        if let Some(session) = lookup::find_earlier(&plan, check, wait_limit).await? {
            return Ok(Some(session));
        }
        // The whole settle time is over: an earlier POST started nothing.
        plan.history.set_in_doubt(false);
        match submit_until_done(&plan, wait_limit).await {
            Err(_) if plan.intent_lease.is_lost() => Ok(None),
            done => done.map(Some),
        }
    }

    fn plan(
        self: &Arc<Self>,
        request: &SubmitRequest,
        options: &SubmitOptions,
        quota: Arc<Quota>,
        (tag, comment): (Tag, String),
        found: &IntentLookup,
        lease: IntentLease,
    ) -> SubmitPlan {
        let limits = &self.pipeline.options.limits;
        let history = if found.intent.posted {
            SubmitHistory::of_posted_intent(self, found.intent.created)
        } else {
            SubmitHistory::default()
        };
        let has_caller_id = request.correlation_id.is_some();
        SubmitPlan {
            sessions: self.clone(),
            quota,
            intent_lease: Arc::new(lease),
            slot_ttl: request.slot_ttl(limits),
            commands: request.commands.as_slice().into(),
            comment,
            tag,
            has_caller_id,
            wait_if_busy: request.wait_if_busy,
            store_was_reset: has_caller_id
                && found.since_state_loss.is_some_and(|seconds| seconds < limits.settle_time),
            on_admitted: options.on_admitted.clone(),
            history: Arc::new(history),
        }
    }
}

/// Returns what can have been sent of a submit before this call has its intent.
fn sent_before(request: &SubmitRequest) -> Sent {
    if request.correlation_id.is_some() { Sent::ByAnotherCall } else { Sent::Nothing }
}

/// Stores the intent, and waits until no other process works on the same one.
async fn begin_intent(
    quota: &Arc<Quota>,
    key: &IntentKey,
    request: &SubmitRequest,
    comment: &str,
    wait_limit: &WaitLimit,
) -> Result<(IntentLookup, IntentLease)> {
    let beginning = quota.begin_intent(key, &request.commands, comment);
    let begun = match wait_limit.wait_for(beginning).await {
        Ok(begun) => begun.map_err(|error| annotate(key, error))?,
        Err(elapsed) => {
            return Err(annotate(key, elapsed.into_error(&key.machine_id, sent_before(request))));
        }
    };
    match begun {
        BegunIntent { found, intent_lease: Some(lease) } => Ok((found, lease)),
        BegunIntent { intent_lease: None, .. } => Err(commands_mismatch_error(key)),
    }
}

/// Returns how to look for an action that exists already.
async fn first_check(plan: &SubmitPlan, is_new_id: bool) -> Check {
    if plan.intent_lease.is_posted() || plan.store_was_reset {
        return Check::Settle;
    }
    // A fleet generates its ids: nobody else can have submitted with one.
    if plan.has_caller_id && !is_new_id {
        return Check::Once;
    }
    // Without tags, only the list of older actions distinguishes our action from an older one.
    match plan.quota.store().has_unreliable_comments().await {
        Ok(true) => Check::Once,
        _ => Check::None,
    }
}

/// Repeats admission and POST until there is a session or an error.
async fn submit_until_done(plan: &SubmitPlan, wait_limit: &WaitLimit) -> Result<Session> {
    // A slot becomes free when one of our sessions ends. If no other caller waits for one, nothing
    // polls them. So this submit makes the poller do it.
    let _slot_watch = plan.sessions.poller.watch_slots();
    let pipeline = &plan.sessions.pipeline;
    let limits = plan.limits();
    let cap_deadline = wait_limit
        .deadline
        .unwrap_or(pipeline.clock.now() + limits.queue_time + limits.script_time);
    let mut tries = SubmitTries::default();
    loop {
        let check = check_before_post(plan, &tries);
        if let Some(session) = lookup::find_existing(plan, check, wait_limit).await? {
            return Ok(session);
        }
        let admission = admission::admit(plan, wait_limit).await?;
        if let Some(on_admitted) = &plan.on_admitted {
            on_admitted.notify_one();
        }
        tries.posts += 1;
        let outcome = post_task::post_in_background(plan, admission, tries.posts).await?;
        let context = StepContext {
            limits,
            wait_if_busy: plan.wait_if_busy,
            cap_deadline,
            now: pipeline.clock.now(),
            jitter: fastrand::f64(),
        };
        match next_step(outcome, &mut tries, &context) {
            NextStep::Done { action, already_existed } => {
                return Ok(plan.session(&action, already_existed));
            }
            NextStep::Fail(error) => return Err(plan.annotate(error)),
            step => wait_for_retry(plan, step, wait_limit).await?,
        }
    }
}

fn check_before_post(plan: &SubmitPlan, tries: &SubmitTries) -> Check {
    match tries.check {
        _ if tries.posts > 0 && plan.history.is_in_doubt() => Check::Settle,
        // Nobody else knows an id that was generated here.
        Check::Once if !plan.has_caller_id && !plan.intent_lease.is_posted() => Check::None,
        check => check,
    }
}

/// Waits until the next POST can succeed, or until the caller's timeout.
async fn wait_for_retry(plan: &SubmitPlan, step: NextStep, wait_limit: &WaitLimit) -> Result<()> {
    wait_limit.record_refusal(step.refusal());
    match step {
        NextStep::Done { .. } => Ok(()),
        NextStep::Fail(error) => Err(plan.annotate(error)),
        NextStep::RefreshToken { error } => {
            log::warn!(target: LOG_TARGET, "{error}; trying again with a fresh token");
            Ok(())
        }
        NextStep::ReadList { error } => {
            if let Some(error) = error {
                log::warn!(target: LOG_TARGET, "{error}; reading the list before the next try");
            }
            Ok(())
        }
        NextStep::WaitForMachine { retries, action_id, .. } => {
            let waiting = admission::wait_until_machine_free(plan, retries, action_id);
            wait_limit.enforce(plan, waiting).await
        }
        NextStep::WaitForSlot { retries, error } => {
            log::warn!(target: LOG_TARGET, "{error}; waiting for a session to end");
            wait_limit.enforce(plan, admission::wait_for_session_slot(plan, retries)).await
        }
        NextStep::BlockWindow { seconds, error } => {
            trace::warn_retry(&error, seconds);
            let blocked = plan.quota.block_window(Operation::RunLiveResponse, seconds).await;
            blocked.map_err(|error| plan.annotate(error))?;
            // The next admission would wait for the window too, but the list is read before it: an
            // action that this POST started may be listed only now.
            wait_limit.enforce(plan, plan.sessions.pipeline.clock.sleep(seconds)).await
        }
        NextStep::Sleep { seconds, error } => {
            trace::warn_retry(&error, seconds);
            wait_limit.enforce(plan, plan.sessions.pipeline.clock.sleep(seconds)).await
        }
    }
}
