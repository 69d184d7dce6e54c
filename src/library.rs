//! The live response library as callers want it: uploaded once, the same content left alone.

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::model::{LibraryFile, check_library_name};
use crate::pipeline::{LOG, Pipeline};
use crate::transfer::{LibraryForm, check_size, sha256_hex};

/// Uploads a file; one that is there is an AlreadyExists error unless it is to be overwritten.
pub async fn upload(pipeline: &Pipeline, form: LibraryForm) -> Result<LibraryFile> {
    check(pipeline, &form)?;
    pipeline.upload_library_file(&form).await
}

/// Uploads what is not there and leaves what is the same; other content under that name is overwritten only if told to.
pub async fn ensure(pipeline: &Pipeline, form: LibraryForm) -> Result<LibraryFile> {
    check(pipeline, &form)?;
    let files = pipeline.library_files().await?;
    let there = files.into_iter().find(|file| file.file_name.eq_ignore_ascii_case(&form.file_name));
    let digest = sha256_hex(&form.content);
    if let Some(mut same) =
        there.clone().filter(|file| file.sha256.as_deref().is_some_and(|sha| sha.eq_ignore_ascii_case(&digest)))
    {
        same.changed = Some(false);
        return Ok(same);
    }
    if let Some(other) = there {
        let (sha256, author) = (other.sha256.unwrap_or_default(), other.created_by.unwrap_or_default());
        if !form.overwrite {
            let message =
                format!("the library has other content under {:?}: SHA-256 {sha256}, by {author}", form.file_name);
            return Err(Error::new(Kind::AlreadyExists, message)
                .with_hint("upload under another name, or replace it with overwrite=True"));
        }
        log::warn!(target: LOG, "replacing {:?} in the library: it was SHA-256 {sha256}, by {author}", form.file_name);
    }
    let mut uploaded = pipeline.upload_library_file(&form).await?;
    uploaded.changed = Some(true);
    Ok(uploaded)
}

/// Reads a file to be uploaded, no further than the limit.
pub async fn read(pipeline: &Pipeline, path: &std::path::Path) -> Result<Bytes> {
    let failed = |error| Error::io("read", path, error);
    let length = tokio::fs::metadata(path).await.map_err(failed)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    check_size(length, pipeline.options.limits.upload_size, &name)?;
    tokio::fs::read(path).await.map(Bytes::from).map_err(failed)
}

fn check(pipeline: &Pipeline, form: &LibraryForm) -> Result<()> {
    check_library_name(&form.file_name)?;
    check_size(form.content.len() as u64, pipeline.options.limits.upload_size, &form.file_name)
}
