//! The cancel call (docs/service.md, section 6.5).

use http::StatusCode;
use serde::Deserialize;

use crate::emulator::clock::{Tick, ticks};
use crate::emulator::session::action::{Cancellation, Status};
use crate::emulator::state::State;
use crate::emulator::wire::reply::{ApiError, Reply, status};
use crate::emulator::wire::request::IncomingRequest;

/// The request body. Its keys are case-sensitive (docs/service.md, section 3.3).
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
    /// Cancels an action that has not ended, immediately or after the time that a switch sets.
    pub fn cancel(
        &mut self,
        request: &IncomingRequest,
        id: &str,
        application: u32,
        now: Tick,
    ) -> Result<Reply, ApiError> {
        let body: CancelBody = self.read_body(request)?;
        let comment = body
            .comment
            .filter(|comment| !comment.is_empty())
            .ok_or_else(|| self.missing("Comment"))?;
        let action_index = self.find_action(id, now)?;
        let requestor = self.requestor(application);
        let wait = match self.actions.get(action_index).map(|action| &action.status) {
            Some(Status::Pending) => self.switches.cancel_pending_time,
            Some(Status::InProgress) => self.switches.cancel_time,
            _ => {
                let message = "The action has ended and cannot be cancelled.";
                return Err(ApiError::new(
                    status(self.switches.cancel_ended_status),
                    "InvalidInput",
                    message,
                ));
            }
        };
        let Some(action) = self.actions.get_mut(action_index) else {
            return Err(ApiError::not_found(id));
        };
        // In production, a running action may complete in spite of a cancel that was answered with
        // 200.
        let running = action.status == Status::InProgress;
        if action.cancellation.is_none() {
            action.cancellation = Some(Cancellation { comment, requestor, requested_at: now });
            if !(running && self.switches.cancel_loses) {
                self.schedule_cancel(action_index, now + ticks(wait));
            }
        }
        // A cancel without delay must show in this response. The request already ran every script
        // that was due, so none can be pending.
        let pending = self.advance(now);
        debug_assert!(pending.is_none());
        Ok(self.action_entity(action_index, StatusCode::OK, now))
    }
}
