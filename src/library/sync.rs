//! Brings the library in step with a folder.
//!
//! The service has no conditional upload. So the library is listed again right before each change,
//! and the sync stops if someone changed one of its files. Every step can be repeated: a sync that
//! was stopped or killed is continued by the next one.

mod comparison;
mod folder;
mod script_help;
mod settings;

use std::path::Path;

use self::comparison::{Change, Comparison, Item, Listing};
use self::folder::Folder;
use self::settings::SETTINGS_FILE;
use super::local::{LocalFiles, MAX_UPLOADS, RETRY_PAUSE};
use super::plan::LibraryPlan;
use crate::error::{Error, Kind, Result};
use crate::model::LibraryFile;
use crate::pipeline::Pipeline;
use crate::trace::LOG_TARGET;
use crate::transfer::LibraryUpload;
use crate::transport::BodyPart;

/// A sync that carries out its plan.
struct Sync<'a> {
    pipeline: &'a Pipeline,
    local_files: &'a LocalFiles,
    comparison: &'a Comparison<'a>,
}

/// Adds and replaces files so that the library has what the folder has. With `delete`, deletes what
/// earlier syncs uploaded and the folder no longer has. Never touches the files of others.
pub async fn sync(
    pipeline: &Pipeline,
    local_files: &LocalFiles,
    folder: &Path,
    delete: bool,
    dry_run: bool,
) -> Result<LibraryPlan> {
    let folder = Folder::read(folder, pipeline.options.limits.upload_size, delete).await?;
    let listing = Listing::new(pipeline.list_library_files().await?);
    let comparison = Comparison::new(&folder, &listing, delete);
    if !dry_run && !folder.has_settings && comparison.replaces_all() {
        return Err(other_folder_error(&folder.collection));
    }
    comparison.conflicts.iter().for_each(warn_of_conflict);
    let conflicts = comparison.conflicts.iter().map(|file| file.file_name.clone()).collect();
    let others = comparison.others.clone();
    let mut plan = LibraryPlan { others, conflicts, ..LibraryPlan::default() };
    let carried_out = match dry_run {
        true => comparison.items.iter().map(|item| item.change).collect(),
        false => Sync { pipeline, local_files, comparison: &comparison }.carry_out().await?,
    };
    for (item, change) in comparison.items.iter().zip(carried_out) {
        let names = match change {
            Change::Add => &mut plan.add,
            Change::Replace => &mut plan.replace,
            Change::Describe => &mut plan.describe,
            Change::Delete => &mut plan.delete,
            Change::Leave => &mut plan.leave,
        };
        names.push(item.name.clone());
    }
    Ok(plan)
}

fn other_folder_error(collection: &str) -> Error {
    let message = format!(
        "this folder has none of the files that earlier syncs of {collection:?} uploaded, so all \
         of them would be deleted: they may come from another folder of the same name"
    );
    Error::invalid(message).with_hint(format!(
        "nothing was changed: a dry run shows the files; if they are this folder's, put \
         {SETTINGS_FILE} with the content {{}} into it; if not, give it a name there: \
         {{\"name\": \"...\"}}"
    ))
}

fn warn_of_lost_mark(name: &str) {
    log::warn!(
        target: LOG_TARGET,
        "{name:?} has no mark of this sync in the library, so later syncs do not replace or delete \
         it: someone described it again, or the service cut its description; check it, and \
         shorten the description"
    );
}

fn warn_of_conflict(file: &LibraryFile) {
    log::warn!(
        target: LOG_TARGET,
        "{:?} is not synced: the library has other content under this name, uploaded by {} with \
         the description {:?}; rename the folder's file, or delete the library's and sync again",
        file.file_name,
        file.created_by.as_deref().unwrap_or("someone else"),
        file.description.as_deref().unwrap_or_default()
    );
}

impl Sync<'_> {
    /// Makes all changes, and returns for each item the change that was made. What another process
    /// did meanwhile is `Leave`.
    async fn carry_out(&self) -> Result<Vec<Change>> {
        let mut made = Vec::new();
        let mut count = 0;
        for (index, item) in self.comparison.items.iter().enumerate() {
            let change = match item.change {
                Change::Leave => Ok(Change::Leave),
                _ => self.make(item, index).await,
            };
            let change = change.map_err(|error| self.with_progress(error, count))?;
            if change != Change::Leave {
                log::info!(target: LOG_TARGET, "library file {:?}: {change:?}", item.name);
                count += 1;
            }
            made.push(change);
        }
        if count > 0 {
            // The last change may have met one of another process.
            let listing = self.list(made.len()).await;
            let listing = listing.map_err(|error| self.with_progress(error, count))?;
            let items = self.comparison.items.iter().zip(&made);
            items
                .filter(|(item, change)| {
                    **change != Change::Leave && self.comparison.has_lost_mark(item, &listing)
                })
                .for_each(|(item, _)| warn_of_lost_mark(&item.name));
        }
        Ok(made)
    }

    /// Makes the change after the first `made`. A change whose response was lost is looked for in the library, and made
    /// again if it is not there.
    async fn make(&self, item: &Item<'_>, made: usize) -> Result<Change> {
        let mut failed: Option<Error> = None;
        // Whether the response to a change of ours was lost.
        let mut may_be_ours = false;
        let mut pause = RETRY_PAUSE;
        for attempt in 0.. {
            let listing = self.list(made).await?;
            if item.is_done(&listing) {
                return Ok(if may_be_ours { item.change } else { Change::Leave });
            }
            if let Some(error) = failed.take_if(|_| attempt >= MAX_UPLOADS) {
                return Err(error);
            }
            let error = match self.send(item).await {
                Ok(()) => break,
                Err(error) => error,
            };
            // A file that exists and was not listed is another process's. The list shows it now.
            if !error.retryable && error.kind != Kind::AlreadyExists {
                return Err(error);
            }
            log::warn!(target: LOG_TARGET, "{error}; reading the library in {pause:.0} s");
            self.pipeline.clock.sleep(pause).await;
            pause *= 2.0;
            may_be_ours |= error.retryable;
            failed = Some(error);
        }
        Ok(item.change)
    }

    async fn send(&self, item: &Item<'_>) -> Result<()> {
        let Some(file) = item.file else {
            self.local_files.forget(&item.name);
            return match self.pipeline.delete_library_file(&item.name).await {
                // Another process, or our own delete whose response was lost.
                Err(error) if error.kind == Kind::NotFound => Ok(()),
                done => done,
            };
        };
        let form = LibraryUpload {
            file_name: item.name.clone(),
            content: BodyPart::Bytes(file.read_again().await?),
            description: file.description.clone(),
            parameters_description: file.parameters.clone(),
            overwrite: item.planned.is_some(),
        };
        self.pipeline.upload_library_file(&form).await.map(|_| ())
    }

    /// Lists the library after the first `made` changes. Fails if someone changed a file of this
    /// sync.
    async fn list(&self, made: usize) -> Result<Listing> {
        let listing = Listing::new(self.pipeline.list_library_files().await?);
        let mut items = self.comparison.items.iter().enumerate();
        match items.find(|(index, item)| !item.is_unmoved(&listing, *index < made)) {
            Some((_, item)) => Err(moved_error(item, listing.find(&item.name))),
            None => Ok(listing),
        }
    }

    fn with_progress(&self, mut error: Error, count: usize) -> Error {
        let changes = self.comparison.items.iter().filter(|item| item.change != Change::Leave);
        error.message += &format!(" ({count} of {} changes were made)", changes.count());
        error
    }
}

fn moved_error(item: &Item<'_>, now: Option<&LibraryFile>) -> Error {
    let (kind, what) = match now {
        Some(_) if item.planned.is_none() => (Kind::AlreadyExists, "uploaded"),
        Some(_) => (Kind::AlreadyExists, "changed"),
        None => (Kind::NotFound, "deleted"),
    };
    let by = now.and_then(|file| file.created_by.as_deref()).unwrap_or("someone else");
    let message = match now {
        Some(_) => format!("{:?} was {what} in the library during the sync, by {by}", item.name),
        None => format!("{:?} was {what} from the library during the sync", item.name),
    };
    let mut error = Error::new(kind, message).with_hint(
        "the sync stopped and did not touch that file: look at it, then sync again, which \
         continues",
    );
    error.retryable = true;
    error
}
