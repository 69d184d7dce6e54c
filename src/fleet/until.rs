//! Until when a run tries machines again that were not reached, and which outcomes that concerns.

use std::collections::BTreeSet;

use super::outcome::Outcome;
use crate::error::{Error, Kind, Result};
use crate::limits::Quota;
use crate::model::{Command, MachineAction, is_machine_id};
use crate::pipeline::Pipeline;
use crate::session::{PENDING_CANCEL_COMMENT, SessionResult};
use crate::state::run_store::{NumberedOutcome, Run, Unreached};

/// Outcomes in one read of the run store.
const PAGE: u32 = 1000;

/// Until when machines that were not reached are tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Until {
    /// For this number of seconds from now on.
    After(f64),
    /// Until this time, in seconds since the Unix epoch.
    At(f64),
}

impl Until {
    /// Returns the time. Fails if it is past.
    pub fn resolve(self, now: f64) -> Result<f64> {
        let (time, is_past) = match self {
            Self::After(seconds) => (now + seconds, seconds < 0.0),
            Self::At(time) => (time, time < now),
        };
        if is_past || !time.is_finite() {
            return Err(Error::invalid("until is not a time in the future")
                .with_hint("give a number of seconds, or a later time"));
        }
        Ok(time)
    }
}

/// Returns whether no command of the action has started.
///
/// Without commands that is not known: the first bodies of an action may have none yet
/// (docs/service.md, section 18).
pub fn is_unstarted(action: &MachineAction) -> bool {
    let unstarted = ["Created", "Submitted", "PendingResource"];
    !action.has_started()
        && !action.commands.is_empty()
        && action.commands.iter().all(|command| unstarted.contains(&command.status.as_str()))
}

/// Returns whether the action has ended because its machine was not reached, so that a new session
/// runs nothing twice.
pub fn was_not_reached(action: &MachineAction) -> bool {
    let gave_up = match action.status.as_str() {
        "TimeOut" => true,
        // Another caller's cancel is not undone.
        "Cancelled" => action.cancellation_comment.as_deref() == Some(PENDING_CANCEL_COMMENT),
        _ => false,
    };
    gave_up && is_unstarted(action)
}

/// Returns what to record of a row whose last session was `action`.
pub fn unreached(action: &MachineAction, parked: u32, machine: &str, now: f64) -> Unreached {
    // The service's time: only its own clock can be compared with `lastSeen`.
    let since = action.last_update_date_time_utc.map_or(now, |time| time.to_unix());
    let name = action.computer_dns_name.as_deref().unwrap_or(machine);
    let name = if is_machine_id(name) { String::new() } else { name.to_lowercase() };
    Unreached { parked, since, name }
}

/// Fails if the library lacks a file of the run's commands: it may have been pruned when every
/// machine had an outcome, and a machine that is tried without it gets its last outcome.
pub async fn check_library(pipeline: &Pipeline, run: &Run) -> Result<()> {
    let commands = run.head.commands.iter().flatten();
    let needed: BTreeSet<&str> = commands.filter_map(Command::library_name).collect();
    if needed.is_empty() {
        return Ok(());
    }
    let listed = match pipeline.list_library_files().await {
        Ok(listed) => listed,
        // To run scripts does not need the permission to list them.
        Err(error) if error.kind == Kind::PermissionDenied => return Ok(()),
        Err(error) => return Err(error),
    };
    let is_there = |name: &str| listed.iter().any(|file| file.file_name.eq_ignore_ascii_case(name));
    let missing: Vec<_> = needed.into_iter().filter(|name| !is_there(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "run {} needs files that the library does not have: {}",
        run.head.run_id,
        missing.join(", ")
    );
    Err(Error::new(Kind::NotFound, message).with_hint(
        "upload them again under these names, then resume; without until, the run is resumed as \
         it is",
    ))
}

/// Withdraws the outcomes of machines that were not reached, so that the run tries them again.
pub async fn withdraw_outcomes(quota: &Quota, run: &Run) -> Result<()> {
    let (runs, run_id) = (quota.store().run_store(), &run.head.run_id);
    let mut after = 0;
    loop {
        let page = runs.list_outcomes(run_id, after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.number;
        for numbered in page {
            withdraw_if_unreached(quota, run_id, numbered).await?;
        }
    }
}

async fn withdraw_if_unreached(
    quota: &Quota,
    run_id: &str,
    numbered: NumberedOutcome,
) -> Result<()> {
    let outcome = Outcome::from_store(&numbered)?;
    if !matches!(outcome.reason.as_str(), "timed_out" | "cancelled") {
        return Ok(());
    }
    let runs = quota.store().run_store();
    let Some(state) = runs.list_rows(run_id, outcome.row, 1).await?.pop() else { return Ok(()) };
    let parked = state.progress.parked;
    let unreached = match runs.get_result(run_id, outcome.row).await? {
        Some(json) => {
            let result: SessionResult = serde_json::from_str(&json).map_err(|error| {
                let row = outcome.row;
                Error::new(Kind::State, format!("the stored result of row {row}: {error}"))
            })?;
            if !was_not_reached(&result.action) {
                return Ok(());
            }
            unreached(&result.action, parked, &outcome.machine, outcome.ended)
        }
        // Its sessions were parked, until its time was over.
        None if outcome.reason == "timed_out" && outcome.error.is_none() => {
            let name = outcome.machine.to_lowercase();
            let name = if is_machine_id(&name) { String::new() } else { name };
            Unreached { parked, since: outcome.ended, name }
        }
        None => return Ok(()),
    };
    runs.withdraw_outcome(run_id, numbered, unreached).await.map(drop)
}
