//! The errors of a store.

use super::intents::IntentKey;
use crate::error::{Error, Kind};

/// Returns an error for a store that can't be used until somebody changes its configuration.
pub fn unusable_error(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(Kind::State, message).with_hint(hint)
}

/// Returns a retryable error for a store that does not answer now.
pub fn unavailable_error(message: impl Into<String>, hint: impl Into<String>) -> Error {
    let mut error = unusable_error(message, hint);
    error.retryable = true;
    error
}

/// Returns the error for a submit whose lease ended and was taken by another process.
pub fn lease_lost_error(key: &IntentKey) -> Error {
    let message = "another process took over this submit because this one stopped responding";
    let hint = "submit again with the same correlation_id: it finds what the other process started";
    with_intent_key(key, unavailable_error(message, hint))
}

/// Returns the error for a submit whose slot expired before the POST.
pub fn slot_lost_error(key: &IntentKey) -> Error {
    let message = "the session slot expired before the submit was sent";
    with_intent_key(key, unavailable_error(message, "submit again: nothing was sent"))
}

/// Returns the error for a run id that the store does not know.
pub fn unknown_run(run_id: &str) -> Error {
    Error::new(Kind::NotFound, format!("the state store has no run {run_id:?}")).with_hint(
        "check the run id, and use the same state, tenant and application as when the run was \
         started",
    )
}

fn with_intent_key(key: &IntentKey, mut error: Error) -> Error {
    error.machine_id = Some(key.machine_id.clone());
    error.correlation_id = Some(key.correlation_id.clone());
    error
}
