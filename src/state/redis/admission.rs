//! Admission in Redis.

use serde_json::{Value, json};

use super::RedisStore;
use super::reply::{AdmissionReply, WindowUsageReply};
use crate::operation::Operation;
use crate::state::admission::{
    AdmissionRequest, AdmissionResponse, AdmissionStore, Ticket, WindowUsage,
};
use crate::state::{StoreFuture, hex_id};

impl AdmissionStore for RedisStore {
    // Sent once: a caller that repeats a request must set `is_retry` and name its waiters again.
    fn request_admission(&self, request: AdmissionRequest) -> StoreFuture<'_, AdmissionResponse> {
        Box::pin(async move {
            Ok(self
                .connection
                .call_once::<AdmissionReply>("request_admission", &self.admission_args(&request))
                .await?
                .into())
        })
    }

    fn block_window(&self, window: Operation, seconds: f64) -> StoreFuture<'_, ()> {
        Box::pin(
            self.call_void("block_window", json!({"window": window.name(), "seconds": seconds})),
        )
    }

    fn window_usage(&self, window: Operation) -> StoreFuture<'_, WindowUsage> {
        Box::pin(async move {
            let arguments = json!({"window": window.name(), "rates": self.rates(window)});
            Ok(self.connection.call::<WindowUsageReply>("window_usage", &arguments).await?.into())
        })
    }
}

impl RedisStore {
    /// Returns the rates of the window.
    fn rates(&self, window: Operation) -> Vec<(u32, f64)> {
        self.settings.rates(window).iter().map(|rate| (rate.count, rate.per)).collect()
    }

    fn admission_args(&self, request: &AdmissionRequest) -> Value {
        let join = request.join.iter().map(|entry| match &entry.slot_request {
            Some(slot_request) => json!([entry.ticket.to_string(), slot_request]),
            None => json!([entry.ticket.to_string()]),
        });
        let mut arguments = json!({
            "window": request.window.name(),
            "rates": self.rates(request.window),
            "longest": self.settings.longest_window(request.window),
            "owner": hex_id(request.owner),
            "call_lease": request.call_lease,
            "join": join.collect::<Vec<_>>(),
            "is_retry": request.is_retry,
            "leave": request.leave.iter().map(Ticket::to_string).collect::<Vec<_>>(),
        });
        // The script handles slots only if it gets their limit.
        if request.window == Operation::RunLiveResponse
            && let Some(arguments) = arguments.as_object_mut()
        {
            arguments.insert("slot_limit".to_owned(), self.settings.limits.sessions.into());
        }
        arguments
    }
}
