//! Cancel (facts.md, section 6.5).

use http::StatusCode;
use serde::Deserialize;

use super::action::{Cancellation, Status};
use super::clock::{Tick, ticks};
use super::reply::{Refusal, Reply, status};
use super::state::{Call, State};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct CancelBody {
    comment: Option<String>,
    #[serde(rename = "ExternalId")]
    _external_id: Option<String>,
    #[serde(rename = "RequestSource")]
    _request_source: Option<String>,
    #[serde(rename = "Title")]
    _title: Option<String>,
}

impl State {
    pub fn cancel(&mut self, call: &Call, id: &str, application: u32, now: Tick) -> Result<Reply, Refusal> {
        let body: CancelBody = self.read_body(call)?;
        let comment = body.comment.filter(|comment| !comment.is_empty()).ok_or_else(|| self.missing("Comment"))?;
        let at = self.find_action(id, now)?;
        let requestor = self.requestor(application);
        let wait = match self.actions.get(at).map(|action| &action.status) {
            Some(Status::Pending) => self.switches.cancel_pending_time,
            Some(Status::InProgress) => self.switches.cancel_time,
            _ => {
                let message = "The action has ended and cannot be cancelled.";
                return Err(Refusal::new(status(self.switches.cancel_ended_status), "InvalidInput", message));
            }
        };
        let Some(action) = self.actions.get_mut(at) else { return Err(Refusal::not_found(id)) };
        let running = action.status == Status::InProgress;
        if action.cancellation.is_none() {
            action.cancellation = Some(Cancellation { comment, requestor, asked: now });
            if !(running && self.switches.cancel_loses) {
                self.plan_cancel(at, now + ticks(wait));
            }
        }
        // A cancel that takes no time shows in this very answer. No script of another action is due by now.
        let pending = self.advance(now);
        debug_assert!(pending.is_none());
        Ok(self.action_entity(at, StatusCode::OK, now))
    }
}
