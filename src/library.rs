//! The live response library as callers want it: uploaded once, the same content left alone.

use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::model::{LibraryFile, check_library_name};
use crate::pipeline::Pipeline;
use crate::trace::LOG_TARGET;
use crate::transfer::{LibraryUpload, check_size, sha256_of};
use crate::transport::BodyPart;

/// Uploads a file; one that is there is an AlreadyExists error unless it is to be overwritten.
pub async fn upload(pipeline: &Pipeline, form: LibraryUpload) -> Result<LibraryFile> {
    check_form(pipeline, &form)?;
    pipeline.upload_library_file(&form).await
}

/// Uploads what is not there and leaves what is the same; other content under that name is overwritten only if told to.
pub async fn ensure(pipeline: &Pipeline, form: LibraryUpload) -> Result<LibraryFile> {
    check_form(pipeline, &form)?;
    let digest = sha256_of(&form.content).await?;
    if let Some(other) = find_by_name(pipeline, &form.file_name).await? {
        if has_digest(&other, &digest) {
            return Ok(LibraryFile { changed: Some(false), ..other });
        }
        let (sha256, author) =
            (other.sha256.unwrap_or_default(), other.created_by.unwrap_or_default());
        if !form.overwrite {
            let message = format!(
                "the library has other content under {:?}: SHA-256 {sha256}, by {author}",
                form.file_name
            );
            return Err(Error::new(Kind::AlreadyExists, message)
                .with_hint("upload under another name, or replace it with overwrite=True"));
        }
        log::warn!(target: LOG_TARGET, "replacing {:?} in the library: it was SHA-256 {sha256}, by {author}", form.file_name);
    }
    match pipeline.upload_library_file(&form).await {
        Ok(uploaded) => Ok(LibraryFile { changed: Some(true), ..uploaded }),
        Err(error) => settle_upload(pipeline, &form.file_name, &digest, error).await,
    }
}

/// An upload that failed may have arrived, and another's may have come first: what counts is what is there.
async fn settle_upload(
    pipeline: &Pipeline,
    name: &str,
    digest: &str,
    error: Error,
) -> Result<LibraryFile> {
    let changed = match error.kind {
        Kind::ConnectionFailed | Kind::Service => true,
        Kind::AlreadyExists => false,
        _ => return Err(error),
    };
    match find_by_name(pipeline, name).await {
        Ok(Some(file)) if has_digest(&file, digest) => {
            Ok(LibraryFile { changed: Some(changed), ..file })
        }
        _ => Err(error),
    }
}

async fn find_by_name(pipeline: &Pipeline, name: &str) -> Result<Option<LibraryFile>> {
    let files = pipeline.list_library_files().await?;
    Ok(files.into_iter().find(|file| file.file_name.eq_ignore_ascii_case(name)))
}

fn has_digest(file: &LibraryFile, digest: &str) -> bool {
    file.sha256.as_deref().is_some_and(|sha256| sha256.eq_ignore_ascii_case(digest))
}

/// A file to be uploaded, which is read as it is sent.
pub async fn open_file(path: &Path) -> Result<BodyPart> {
    let failed = |error| Error::io("read", path, error);
    // Opened, so that one that can't be read fails here, with the system's own words.
    let metadata =
        tokio::fs::File::open(path).await.map_err(failed)?.metadata().await.map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::invalid(format!("{} is not a plain file", path.display()))
            .with_hint("give the path of a file, or open it and give the file object"));
    }
    Ok(BodyPart::File { path: path.into(), length: metadata.len() })
}

/// Refuses what the service would refuse, before anything is sent.
fn check_form(pipeline: &Pipeline, form: &LibraryUpload) -> Result<()> {
    check_library_name(&form.file_name)?;
    check_size(form.content.len(), pipeline.options.limits.upload_size, &form.file_name)
}
