//! Uploads to the live response library. Skips a file that the library has already.

mod local;
mod mark;
mod plan;
mod prune;
mod sync;
mod texts;

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::model::{LibraryFile, check_library_name};
use crate::pipeline::Pipeline;
use crate::trace::LOG_TARGET;
use crate::transfer::{LibraryUpload, check_size, sha256_of};
use crate::transport::BodyPart;

pub use local::{LocalFiles, check_content_size, check_content_sizes, is_listed};
pub use plan::LibraryPlan;
pub use prune::prune;
pub use sync::sync;
use texts::{has_description, has_parameters, with_new_texts};

/// Uploads a file. If the library has the name, fails with AlreadyExists unless the form allows to
/// overwrite it.
pub async fn upload(pipeline: &Pipeline, form: LibraryUpload) -> Result<LibraryFile> {
    check_form(pipeline, &form)?;
    pipeline.upload_library_file(&form).await
}

/// Uploads a file unless the library has the same content under its name. Other content under the
/// name is replaced only if the form says to overwrite. A description that differs is changed.
pub async fn ensure(pipeline: &Pipeline, form: LibraryUpload) -> Result<LibraryFile> {
    check_form(pipeline, &form)?;
    let digest = sha256_of(&form.content).await?;
    if let Some(other) = find_by_name(pipeline, &form.file_name).await? {
        if has_digest(&other, &digest) {
            return match with_new_texts(&form, &other) {
                Some(form) => describe(pipeline, &form, &digest).await,
                None => Ok(LibraryFile { changed: Some(false), ..other }),
            };
        }
        let (sha256, author) =
            (other.sha256.unwrap_or_default(), other.created_by.unwrap_or_default());
        if !form.overwrite {
            let message = format!(
                "the library has other content under {:?}: SHA-256 {sha256}, uploaded by {author}",
                form.file_name
            );
            return Err(Error::new(Kind::AlreadyExists, message)
                .with_hint("upload under another name, or replace it with overwrite=True"));
        }
        log::warn!(
            target: LOG_TARGET,
            "replacing {:?} in the library: SHA-256 {sha256}, uploaded by {author}",
            form.file_name
        );
    }
    match pipeline.upload_library_file(&form).await {
        Ok(uploaded) => Ok(LibraryFile { changed: Some(true), ..uploaded }),
        Err(error) => {
            let is_uploaded = |file: &LibraryFile| has_digest(file, &digest);
            settle_upload(pipeline, &form.file_name, is_uploaded, error).await
        }
    }
}

/// Uploads the content that the library has again: no call changes a description alone.
async fn describe(pipeline: &Pipeline, form: &LibraryUpload, digest: &str) -> Result<LibraryFile> {
    let is_described = |file: &LibraryFile| {
        has_digest(file, digest)
            && has_description(file, &form.description)
            && has_parameters(file, form.parameters_description.as_deref())
    };
    match pipeline.upload_library_file(form).await {
        Ok(uploaded) => Ok(LibraryFile { changed: Some(true), ..uploaded }),
        Err(error) => settle_upload(pipeline, &form.file_name, is_described, error).await,
    }
}

/// Checks what the library has after an upload failed: the upload may have arrived, or another
/// process may have uploaded the same file first.
async fn settle_upload(
    pipeline: &Pipeline,
    name: &str,
    is_uploaded: impl Fn(&LibraryFile) -> bool,
    error: Error,
) -> Result<LibraryFile> {
    let changed = match error.kind {
        // The upload may have arrived although its response was lost.
        Kind::ConnectionFailed | Kind::Service => true,
        Kind::AlreadyExists => false,
        _ => return Err(error),
    };
    match find_by_name(pipeline, name).await {
        Ok(Some(file)) if is_uploaded(&file) => Ok(LibraryFile { changed: Some(changed), ..file }),
        _ => Err(error),
    }
}

async fn find_by_name(pipeline: &Pipeline, name: &str) -> Result<Option<LibraryFile>> {
    let files = pipeline.list_library_files().await?;
    Ok(find_in(&files, name).cloned())
}

/// Returns the file of this name. The library does not distinguish capitals.
fn find_in<'a>(files: &'a [LibraryFile], name: &str) -> Option<&'a LibraryFile> {
    files.iter().find(|file| file.file_name.eq_ignore_ascii_case(name))
}

fn has_digest(file: &LibraryFile, digest: &str) -> bool {
    file.sha256.as_deref().is_some_and(|sha256| sha256.eq_ignore_ascii_case(digest))
}

/// Returns the file at `path` as a body. It is read while it is sent.
pub async fn open_file(path: &Path) -> Result<BodyPart> {
    let failed = |error| Error::io("read", path, error);
    let metadata = tokio::fs::metadata(path).await.map_err(failed)?;
    if !metadata.is_file() {
        // A pipe has no length, which the request needs, and to open it would wait for its writer.
        return Err(irregular_file(path));
    }
    // Opened here so that a file that cannot be read fails now, with the system's own message.
    tokio::fs::File::open(path).await.map_err(failed)?;
    Ok(BodyPart::File { path: path.into(), length: metadata.len() })
}

/// The error for a pipe or a device in place of a file.
pub fn irregular_file(path: &Path) -> Error {
    Error::invalid(format!("{} is not a regular file", path.display()))
        .with_hint("give the path of a regular file, or read it and give its content")
}

/// Rejects what the service would reject, before anything is sent.
fn check_form(pipeline: &Pipeline, form: &LibraryUpload) -> Result<()> {
    check_library_name(&form.file_name)?;
    check_size(form.content.len(), pipeline.options.limits.upload_size, &form.file_name)
}
