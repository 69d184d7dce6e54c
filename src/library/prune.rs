//! Deletes files that local commands uploaded and nothing needs any more.

use std::collections::HashSet;

use super::local::{LocalFiles, is_uploaded_here};
use super::plan::LibraryPlan;
use crate::error::{Kind, Result};
use crate::model::{Command, LibraryFile, MachineAction};
use crate::pipeline::Pipeline;
use crate::state::store::{IntentState, Snapshot};
use crate::trace::LOG_TARGET;

/// Deletes between two reads of what is in use.
const BATCH: usize = 20;

const OPEN_ACTIONS: &str =
    "type eq 'LiveResponse' and (status eq 'Pending' or status eq 'InProgress')";

/// What may still need library files.
enum InUse {
    /// The names of the files, in lower case.
    Files(HashSet<String>),
    /// The commands of this open action are not known, so it may need any file.
    Unknown(String),
}

/// Deletes what local commands uploaded more than `older_than` seconds ago, unless an open or
/// unsettled submit, an open action or an unfinished run may need it.
pub async fn prune(
    pipeline: &Pipeline,
    local_files: &LocalFiles,
    older_than: f64,
    dry_run: bool,
) -> Result<LibraryPlan> {
    let mut plan = LibraryPlan::default();
    let (ours, others): (Vec<_>, Vec<_>) =
        pipeline.list_library_files().await?.into_iter().partition(is_uploaded_here);
    plan.others = others.into_iter().map(|file| file.file_name).collect();
    // Files have the service's times.
    let before = pipeline.service_clock.earliest_at(pipeline.clock.now(), 1.0) - older_than;
    let (old, young): (Vec<_>, Vec<_>) = ours.into_iter().partition(|file| is_older(file, before));
    plan.leave = young.into_iter().map(|file| file.file_name).collect();
    for batch in old.chunks(BATCH) {
        // Read again for each batch, since deletes wait for their rate limit.
        let in_use = find_in_use(pipeline).await?;
        if let InUse::Unknown(action_id) = &in_use {
            log::warn!(
                target: LOG_TARGET,
                "no library file is deleted: the service does not show the commands of session \
                 {action_id}, which is open and may need any of them; prune again later"
            );
        }
        for file in batch {
            let name = &file.file_name;
            if in_use.needs(name) {
                plan.leave.push(name.clone());
                continue;
            }
            if !dry_run {
                local_files.forget(name);
                delete(pipeline, name).await?;
            }
            plan.delete.push(name.clone());
        }
    }
    plan.leave.sort();
    Ok(plan)
}

/// Deletes a file. Another process may have deleted it first.
async fn delete(pipeline: &Pipeline, name: &str) -> Result<()> {
    match pipeline.delete_library_file(name).await {
        Err(error) if error.kind != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn is_older(file: &LibraryFile, before: f64) -> bool {
    let updated = file.last_updated_time.or(file.creation_time);
    // A file without a time may be new.
    updated.is_some_and(|updated| updated.to_unix() <= before)
}

async fn find_in_use(pipeline: &Pipeline) -> Result<InUse> {
    let (_, quota) = pipeline.shared_quota().await?;
    let actions = pipeline.list_machine_actions(Some(OPEN_ACTIONS), None).await?;
    // After the list: an intent whose action the list does not show yet is still open here.
    let snapshot = quota.store().snapshot().await?;
    let runs = quota.store().run_store().list_unfinished_runs().await?;
    let open: Vec<_> = actions.iter().filter(|action| !action.is_done()).collect();
    if let Some(action) = open.iter().find(|action| !shows_commands(action)) {
        return Ok(InUse::Unknown(action.id.clone()));
    }
    let of_actions =
        open.iter().flat_map(|action| &action.commands).map(|command| &command.command);
    let of_runs = runs.iter().flat_map(|run| run.commands.iter().flatten());
    let commands = of_actions.chain(of_runs).chain(open_intents(&snapshot, &open));
    let names = commands.filter_map(Command::library_name).map(str::to_ascii_lowercase);
    Ok(InUse::Files(names.collect()))
}

/// Returns the commands of the intents that may still be submitted, or whose session may be open.
fn open_intents<'a>(
    snapshot: &'a Snapshot,
    open: &'a [&'a MachineAction],
) -> impl Iterator<Item = &'a Command> {
    let is_open = |action_id: &String| {
        let is_id = |id: &String| id.eq_ignore_ascii_case(action_id);
        snapshot.slots.iter().any(|slot| slot.action_id.as_ref().is_some_and(is_id))
            || open.iter().any(|action| is_id(&action.id))
    };
    let unsettled = move |state: &&IntentState| {
        state.lease_held || state.intent.action_id.as_ref().is_none_or(is_open)
    };
    snapshot.intents.iter().filter(unsettled).flat_map(|state| &state.intent.commands)
}

/// Returns whether the action shows all its commands. A new action may show none yet.
fn shows_commands(action: &MachineAction) -> bool {
    !action.commands.is_empty()
        && action.commands.iter().all(|command| command.command != Command::default())
}

impl InUse {
    fn needs(&self, name: &str) -> bool {
        match self {
            Self::Files(names) => names.contains(&name.to_ascii_lowercase()),
            Self::Unknown(_) => true,
        }
    }
}
