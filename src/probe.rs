//! Learns from what a tenant shows what the service's pages do not say (docs/service.md,
//! section 15).
//!
//! Without a machine it only reads. With one, it also runs scripts of its own there, and then reads
//! what the service shows of them. No request tests a rate or a cap.

mod cancels;
mod comments;
mod filters;
mod history;
mod library;
mod lists;
mod machines;
mod observations;
mod on_machine;
mod profile;
mod results;
mod results_blob;
mod scripts;
mod shape;
mod transcript;

pub use profile::Profile;

use std::sync::Arc;

use crate::error::Result;
use crate::model::MachineAction;
use crate::operation::Operation;
use crate::pipeline::{ApiCall, ApiResponse, Pipeline};
use crate::session::Sessions;
use observations::Observations;

/// How many live response actions are read, the newest first.
const MAX_ACTIONS: u32 = 2000;
const LIVE_RESPONSE: &str = "type eq 'LiveResponse'";

/// Reads what the tenant shows, and returns what follows from it. Sends GETs only.
///
/// # Errors
///
/// Fails if the machine actions cannot be read. Any other call that fails shows nothing.
pub async fn survey(pipeline: &Pipeline) -> Result<Profile> {
    let mut evidence = Observations::default();
    read_all(pipeline, &mut evidence).await?;
    Ok(evidence.into_profile())
}

/// Surveys the tenant. With a machine, runs the probe's own scripts there first, so that the tenant
/// shows them too.
///
/// # Errors
///
/// Fails as [`survey`] does, and if a script cannot run on the machine.
pub async fn probe(sessions: &Arc<Sessions>, machine: Option<&str>) -> Result<Profile> {
    let mut evidence = Observations::default();
    if let Some(machine) = machine {
        on_machine::run_scripts(sessions, machine, &mut evidence).await?;
    }
    read_all(&sessions.pipeline, &mut evidence).await?;
    Ok(evidence.into_profile())
}

async fn read_all(pipeline: &Pipeline, evidence: &mut Observations) -> Result<()> {
    let first = lists::read_lists(pipeline, evidence).await?;
    let listed = pipeline.list_machine_actions(Some(LIVE_RESPONSE), Some(MAX_ACTIONS)).await;
    let actions = listed.unwrap_or_else(|_| of_live_response(first.actions));
    history::read_history(&actions, pipeline.options.limits.clone(), evidence);
    cancels::read_cancels(&actions, evidence);
    comments::read_comments(&actions, first.now, evidence);
    results::read_results(pipeline, &actions, first.now, evidence).await;
    machines::read_machines(pipeline, evidence).await;
    library::read_library(pipeline, evidence).await;
    filters::try_filters(pipeline, evidence).await;
    Ok(())
}

fn of_live_response(mut actions: Vec<MachineAction>) -> Vec<MachineAction> {
    actions.retain(|action| action.kind == "LiveResponse");
    actions.sort_by_key(|action| std::cmp::Reverse(action.creation_date_time_utc));
    actions
}

/// What a GET showed.
enum Answer<T> {
    Read(T),
    /// The service refused the call with this status, which it would do again.
    Refused(u16),
    /// It is not known how the service answers.
    Unknown,
}

/// Makes a GET, of which a refusal is an answer too.
async fn ask<T>(
    pipeline: &Pipeline,
    evidence: &mut Observations,
    call: &ApiCall,
    decode: impl Fn(&ApiResponse) -> Result<T>,
) -> Answer<T> {
    match pipeline.call_response(call, decode).await {
        Ok(read) => Answer::Read(read),
        // The others depend on the token, the time or the limits.
        Err(error) => match error.status {
            Some(status @ 400..=499) if !matches!(status, 401 | 403 | 408 | 429) => {
                Answer::Refused(status)
            }
            status => {
                let status = status.map_or("no answer".to_owned(), |status| status.to_string());
                evidence.tally("unread", format!("{}: {status}", call.operation.name()));
                Answer::Unknown
            }
        },
    }
}

fn get(operation: Operation, path: impl Into<String>) -> ApiCall {
    ApiCall::get(operation, path)
}
