//! Fetches the results of a row again whose session has ended.

use std::sync::Arc;

use super::outcome::Outcome;
use super::protocol::RowExit;
use super::shared::{Shared, is_run_level};
use crate::error::{Error, Kind, Result};
use crate::session::SessionResult;
use crate::trace::LOG_TARGET;

/// Fetches what the stored result of the row lacks. What was fetched before is kept.
pub async fn run(shared: Arc<Shared>, mut outcome: Outcome) -> RowExit {
    match fetch(&shared, &outcome).await {
        Ok(result) => {
            outcome.error = None;
            outcome.ended = shared.now();
            shared.complete(&mut outcome, &result, true).await;
            RowExit::Refetched(Some(Box::new((outcome, result))))
        }
        Err(error) if is_run_level(&error) => RowExit::RunFailed(error),
        Err(error) => {
            log::warn!(
                target: LOG_TARGET,
                "could not fetch the results of {} again: {error}", outcome.machine
            );
            RowExit::Refetched(None)
        }
    }
}

async fn fetch(shared: &Shared, outcome: &Outcome) -> Result<SessionResult> {
    let mut session = shared.sessions.session(outcome.action_id.as_deref().unwrap_or_default());
    session.machine_id.clone_from(&outcome.machine_id);
    session.correlation_id.clone_from(&outcome.correlation_id);
    let save_to = shared.save_to();
    let save_to = save_to.as_ref();
    let stored = shared.run_store().get_result(&shared.header.run_id, outcome.row).await?;
    let stored: Option<SessionResult> =
        stored.map(|json| serde_json::from_str(&json)).transpose().map_err(|error| {
            let row = outcome.row;
            Error::new(Kind::State, format!("the stored result of row {row} is not valid: {error}"))
        })?;
    match stored.filter(|stored| !stored.commands.is_empty()) {
        Some(stored) => Ok(session.refetch(stored, save_to, |_| true).await),
        None => session.fetch_unrecorded(save_to).await,
    }
}
