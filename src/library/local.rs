//! Uploads what commands take along, before the submit that needs it: once per client and tenant.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::mark::{LOCAL_MARK, join_mark};
use super::{find_in, has_digest, settle_upload};
use crate::config::Limits;
use crate::error::{Error, Kind, Result};
use crate::model::{Command, LibraryFile, LocalContent};
use crate::pipeline::Pipeline;
use crate::state::QuotaKey;
use crate::trace::LOG_TARGET;
use crate::transfer::{LibraryUpload, check_size};
use crate::transport::BodyPart;

/// Seconds after which a file is looked for in the library again: another process may prune it.
const TRUST: f64 = 300.0;
/// Tries of one upload. A second one changes nothing: the name stands for the content.
pub(super) const MAX_UPLOADS: u32 = 3;
/// Seconds before the second try; each further pause is twice as long.
pub(super) const RETRY_PAUSE: f64 = 1.0;

/// The local files that a client knows to be in the library.
#[derive(Default)]
pub struct LocalFiles {
    /// When each was last uploaded or listed.
    known: Mutex<HashMap<(QuotaKey, String), f64>>,
    /// Of several submits with the same new content, one uploads it, and the others wait.
    uploading: tokio::sync::Mutex<()>,
}

impl LocalFiles {
    /// Uploads what the library does not have yet. Does nothing if the commands bring nothing.
    pub async fn upload<'a>(
        &self,
        pipeline: &Pipeline,
        commands: impl IntoIterator<Item = &'a Command>,
    ) -> Result<()> {
        let contents: BTreeMap<_, _> = commands
            .into_iter()
            .filter_map(Command::content)
            .map(|content| (content.library_name.as_str(), content))
            .collect();
        for content in contents.values() {
            check_content_size(content, &pipeline.options.limits)?;
        }
        if contents.is_empty() {
            return Ok(());
        }
        let (key, _) = pipeline.shared_quota().await?;
        let is_known = |name: &str| self.is_known(&key, name, pipeline.clock.now());
        if contents.keys().all(|name| is_known(name)) {
            return Ok(());
        }
        let _uploading = self.uploading.lock().await;
        let missing: Vec<_> = contents.values().filter(|it| !is_known(&it.library_name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let listed = pipeline.list_library_files().await?;
        for content in missing {
            if !is_listed(content, &listed)? {
                upload_content(pipeline, content).await?;
            }
            let known_at = pipeline.clock.now();
            self.remember(&key, &content.library_name, known_at);
        }
        Ok(())
    }

    /// Looks for the file again before the next submit that needs it.
    pub fn forget(&self, name: &str) {
        self.lock().retain(|(_, known), _| !known.eq_ignore_ascii_case(name));
    }

    /// Notes that the library has the file now, and drops what is not trusted any more: a program
    /// may bring new content with each session.
    fn remember(&self, key: &QuotaKey, name: &str, now: f64) {
        let mut known = self.lock();
        known.retain(|_, at| now - *at < TRUST);
        known.insert((key.clone(), name.to_owned()), now);
    }

    fn is_known(&self, key: &QuotaKey, name: &str, now: f64) -> bool {
        let known_at = self.lock().get(&(key.clone(), name.to_owned())).copied();
        known_at.is_some_and(|at| now - at < TRUST)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(QuotaKey, String), f64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses content that is too large for the library, before any request.
pub fn check_content_sizes<'a>(
    commands: impl IntoIterator<Item = &'a Command>,
    limits: &Limits,
) -> Result<()> {
    let mut contents = commands.into_iter().filter_map(Command::content);
    contents.try_for_each(|content| check_content_size(content, limits))
}

pub fn check_content_size(content: &LocalContent, limits: &Limits) -> Result<()> {
    check_size(content.bytes.len() as u64, limits.upload_size, &content.file_name)
}

/// Returns whether the library has the content. Fails if it has other content under its name.
pub fn is_listed(content: &LocalContent, files: &[LibraryFile]) -> Result<bool> {
    match find_in(files, &content.library_name) {
        None => Ok(false),
        // A library that shows no hash proves nothing against the name, which has 16 digits of it.
        Some(file) if file.sha256.is_none() || has_digest(file, &content.sha256) => Ok(true),
        Some(file) => Err(other_content_error(content, file)),
    }
}

fn other_content_error(content: &LocalContent, file: &LibraryFile) -> Error {
    let message = format!(
        "the library has other content than {} under {:?}: SHA-256 {}, uploaded by {}",
        content.file_name,
        content.library_name,
        file.sha256.as_deref().unwrap_or_default(),
        file.created_by.as_deref().unwrap_or_default(),
    );
    Error::new(Kind::AlreadyExists, message).with_hint(
        "nothing was submitted: only someone who chose this name on purpose can have uploaded \
         that file; look into it, then delete it with library.delete(name)",
    )
}

/// Returns whether the file was uploaded by [`LocalFiles::upload`] of any client.
pub fn is_uploaded_here(file: &LibraryFile) -> bool {
    let description = file.description.as_deref().unwrap_or_default();
    let sha256 = file.sha256.as_deref().unwrap_or_default();
    description.trim_end().ends_with(LOCAL_MARK)
        && crate::model::is_local_name(&file.file_name, sha256)
}

/// Uploads the content, and again if it did not arrive.
async fn upload_content(pipeline: &Pipeline, content: &Arc<LocalContent>) -> Result<()> {
    let form = LibraryUpload {
        file_name: content.library_name.clone(),
        content: BodyPart::Bytes(content.bytes.clone()),
        description: join_mark(&content.file_name, LOCAL_MARK),
        parameters_description: None,
        // Other content is never replaced.
        overwrite: false,
    };
    let mut pause = RETRY_PAUSE;
    for upload in 1.. {
        let Err(error) = pipeline.upload_library_file(&form).await else { break };
        let is_uploaded = |file: &LibraryFile| has_digest(file, &content.sha256);
        let settled = settle_upload(pipeline, &form.file_name, is_uploaded, error).await;
        let Err(error) = settled else { break };
        // A file that exists and is not listed yet is another process's upload of the same content.
        let may_pass = error.retryable || error.kind == Kind::AlreadyExists;
        if upload >= MAX_UPLOADS || !may_pass {
            return Err(error);
        }
        log::warn!(target: LOG_TARGET, "{error}; uploading again in {pause:.0} s");
        pipeline.clock.sleep(pause).await;
        pause *= 2.0;
    }
    log::info!(
        target: LOG_TARGET,
        "uploaded {} to the library as {}", content.file_name, content.library_name
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_not_trusted_any_more_are_dropped() {
        let (files, name) = (LocalFiles::default(), String::new);
        let key = QuotaKey { host: name(), tenant: name(), application: name() };
        for session in 0..1000_u32 {
            files.remember(&key, &format!("script-{session}.ps1"), f64::from(session));
        }
        let known = |session: u32| files.is_known(&key, &format!("script-{session}.ps1"), 999.0);
        assert!(known(999) && known(700) && !known(699));
        assert_eq!(files.lock().len(), 300);
    }
}
