//! What is said when the store fails, or a right that it gave was lost.

use super::store::IntentKey;
use crate::error::{Error, Kind};

/// The store can't be used as it is.
pub fn unusable_error(message: impl Into<String>, hint: impl Into<String>) -> Error {
    Error::new(Kind::State, message).with_hint(hint)
}

/// The store does not answer; it may again.
pub fn unavailable_error(message: impl Into<String>, hint: impl Into<String>) -> Error {
    let mut error = unusable_error(message, hint);
    error.retryable = true;
    error
}

pub fn lease_lost_error(key: &IntentKey) -> Error {
    let message = "another process took over this submit, while this one stood still";
    with_intent_key(
        key,
        unavailable_error(
            message,
            "submit again with the same correlation_id: it finds what the other started",
        ),
    )
}

pub fn slot_lost_error(key: &IntentKey) -> Error {
    let message = "the admission to submit ran out before the submit was sent";
    with_intent_key(key, unavailable_error(message, "submit again: nothing was sent"))
}

/// A run that the store does not know.
pub fn unknown_run(run_id: &str) -> Error {
    Error::new(Kind::NotFound, format!("the state store knows of no run {run_id:?}"))
        .with_hint("check the run id, and that `state`, tenant and application are those that it was started with")
}

fn with_intent_key(key: &IntentKey, mut error: Error) -> Error {
    error.machine_id = Some(key.machine_id.clone());
    error.correlation_id = Some(key.correlation_id.clone());
    error
}
