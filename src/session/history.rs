//! What happened to a submit so far. All its steps share it.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Sessions;
use super::evidence::is_newer;
use crate::config::SETTLE_TIME;
use crate::model::MachineAction;

/// An emulator's clock may run this much faster than ours, at most.
const MAX_CLOCK_RATE: f64 = 1000.0;

/// The history of a submit, from its first POST on.
#[derive(Default)]
pub(super) struct SubmitHistory(Mutex<Events>);

#[derive(Default)]
struct Events {
    /// When an earlier call can have posted first.
    earlier_post: Option<PostTime>,
    /// When the first POST of this call began.
    own_post: Option<PostTime>,
    /// When the last POST of this call began, by our clock.
    last_post: Option<f64>,
    /// When this call last read the machine's actions, by our clock.
    last_look: Option<f64>,
    /// The actions that the machine had before the first POST.
    known_before: HashSet<String>,
    /// The actions of others that the service answered a POST with.
    foreign: HashSet<String>,
    /// The service refused a POST because the machine was busy.
    was_busy: bool,
    /// A POST may have started a session, and the list has not shown which.
    in_doubt: bool,
}

/// When a POST began.
#[derive(Clone, Copy)]
struct PostTime {
    local: f64,
    /// At the earliest, by the service's clock, as far as it was known then.
    service: f64,
}

impl PostTime {
    fn new(sessions: &Sessions, local: f64) -> Self {
        Self { local, service: service_time_at(sessions, local) }
    }

    /// Returns the earliest time of the POST by the service's clock. A later response may show that
    /// clock better than what was known when the POST began.
    fn service_time(self, sessions: &Sessions) -> f64 {
        self.service.max(service_time_at(sessions, self.local))
    }
}

impl SubmitHistory {
    /// The history of an intent that an earlier call may have posted, at `created` at the earliest.
    pub fn of_posted_intent(sessions: &Sessions, created: f64) -> Self {
        let earlier_post = Some(PostTime::new(sessions, created));
        Self(Mutex::new(Events { earlier_post, in_doubt: true, ..Events::default() }))
    }

    /// Records that a POST begins now.
    pub fn record_post(&self, sessions: &Sessions) {
        let now = sessions.pipeline.clock.now();
        let post = PostTime::new(sessions, now);
        let mut events = self.lock();
        events.own_post.get_or_insert(post);
        events.last_post = Some(now);
    }

    /// Records the machine's actions, which were read until `now`. As long as no POST was sent,
    /// none of them is ours.
    pub fn record_look(&self, actions: &[MachineAction], now: f64) {
        let mut events = self.lock();
        events.last_look = Some(now);
        if events.earlier_post.is_none() && events.own_post.is_none() {
            events.known_before.extend(actions.iter().map(|action| action.id.clone()));
        }
    }

    /// Returns the seconds since this call last read the machine's actions. None: it never did.
    pub fn since_last_look(&self, now: f64) -> Option<f64> {
        self.lock().last_look.map(|at| now - at)
    }

    pub fn set_in_doubt(&self, in_doubt: bool) {
        self.lock().in_doubt = in_doubt;
    }

    /// Returns whether a POST may have started a session that is not known.
    pub fn is_in_doubt(&self) -> bool {
        self.lock().in_doubt
    }

    /// Returns the seconds since the last POST of this call, or 0 if another call sent it.
    pub fn since_last_post(&self, now: f64) -> f64 {
        self.lock().last_post.map_or(0.0, |at| (now - at).max(0.0))
    }

    /// Records someone else's action in a response. Returns whether it is a new one: the same one
    /// again proves that the POST started nothing.
    pub fn record_foreign(&self, action_id: &str) -> bool {
        self.lock().foreign.insert(action_id.to_owned())
    }

    /// Returns whether the action was created before the first POST of this call.
    pub fn is_older_than_post(&self, sessions: &Sessions, action: &MachineAction) -> bool {
        let posted_at = self.lock().own_post.map(|post| post.service_time(sessions));
        action.creation_date_time_utc.is_some()
            && posted_at.is_some_and(|posted_at| !is_newer(action, posted_at))
    }

    /// Records that the service refused a POST because the machine was busy.
    pub fn record_busy(&self) {
        self.lock().was_busy = true;
    }

    /// Returns whether a POST of this call may have started the session that the list shows.
    ///
    /// If the machine was busy, another process submitted with our id just before.
    pub fn may_have_started(&self) -> bool {
        let events = self.lock();
        events.own_post.is_some() && (events.in_doubt || !events.was_busy)
    }

    /// Returns the earliest time of the first POST by the service's clock. None: there was none.
    pub fn posted_at(&self, sessions: &Sessions) -> Option<f64> {
        let events = self.lock();
        events.earlier_post.or(events.own_post).map(|post| post.service_time(sessions))
    }

    /// Returns the actions that the machine had before the first POST.
    pub fn known_before(&self) -> HashSet<String> {
        self.lock().known_before.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the earliest time that the service's clock can have shown at `local`, by our clock.
pub(super) fn service_time_at(sessions: &Sessions, local: f64) -> f64 {
    let pipeline = &sessions.pipeline;
    // Limits are scaled down for an emulator whose clock runs faster, so they show how fast it runs.
    let settle_time = pipeline.options.limits.settle_time.max(f64::MIN_POSITIVE);
    let rate = (SETTLE_TIME / settle_time).clamp(1.0, MAX_CLOCK_RATE);
    pipeline.service_clock.earliest_at(local, rate)
}
