//! Downloads: streamed from the network to disk in bounded batches.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::task::{JoinError, spawn_blocking};

use super::file_name;
use super::payload::{UnpackLimits, Unpacked, Unpacker};
use super::target::{Output, Target};
use crate::error::{Error, Kind, Result};
use crate::model::CollectedFile;
use crate::transport::Failure;

type Body = BoxStream<'static, Result<Bytes, Failure>>;

/// What goes to a blocking thread at once. One batch is read while another is written, and a thread is held for one
/// batch alone: two hundred downloads share the pool's few threads and none waits for another's network.
const BATCH: usize = 128 << 10;

/// Saves the file that `body` holds. Nothing is left behind on failure, nor when the future is dropped.
pub async fn save(body: Body, target: Target, remote_path: &str, limits: UnpackLimits) -> Result<CollectedFile> {
    let mut download = Download::open(target, remote_path, limits).await?;
    download.receive(body).await?;
    download.finish().await
}

/// One file on its way to disk. After a broken `receive` another body may go on where [`Download::received`] says.
pub struct Download {
    /// None while it is on a blocking thread, and after it failed for good.
    writer: Option<Box<Writer>>,
    remote_path: String,
    received: u64,
}

struct Writer {
    unpacker: Unpacker,
    file: Unpacked,
}

impl Download {
    /// Opens the target, so that one that can't be written fails before a byte is asked for.
    pub async fn open(target: Target, remote_path: &str, limits: UnpackLimits) -> Result<Self> {
        let path = remote_path.to_owned();
        let writer = blocking(remote_path, move || {
            let file = Unpacked::new(Output::open(target)?, &path, limits);
            Ok(Box::new(Writer { unpacker: Unpacker::new(), file }))
        });
        Ok(Self { writer: Some(writer.await?), remote_path: remote_path.to_owned(), received: 0 })
    }

    /// Bytes of the payload, packed as they came, that are safely through.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a body to its end. A retryable error means that the body broke off.
    pub async fn receive(&mut self, body: Body) -> Result<()> {
        let mut batches = Batches { body, left: Bytes::new() };
        let mut batch = batches.next().await.map_err(|failure| self.broke_off(failure))?;
        while !batch.is_empty() {
            let mut writer = self.writer.take().ok_or_else(|| stopped(&self.remote_path))?;
            let length = batch.len() as u64;
            let writing = spawn_blocking(move || {
                writer.unpacker.push(&batch, &mut writer.file)?;
                Ok(writer)
            });
            // A disk that fails ends both; a network that fails lets the writing end first.
            let written = async { flat(writing.await, &self.remote_path) };
            let (writer, next) = tokio::try_join!(written, async { Ok(batches.next().await) })?;
            self.writer = Some(writer);
            self.received += length;
            batch = next.map_err(|failure| self.broke_off(failure))?;
        }
        Ok(())
    }

    /// Checks the payload's end and gives the file its name.
    pub async fn finish(mut self) -> Result<CollectedFile> {
        let mut writer = self.writer.take().ok_or_else(|| stopped(&self.remote_path))?;
        let remote_path = self.remote_path.clone();
        blocking(&self.remote_path, move || {
            writer.unpacker.finish(&mut writer.file)?;
            let name = file_name::of_collected(writer.unpacker.name().as_deref(), &remote_path);
            let (output, size, sha256) = writer.file.size_and_sha256();
            let path = output.finish(&name)?.map(|path| path.to_string_lossy().into_owned());
            Ok(CollectedFile { remote_path, path, size, sha256 })
        })
        .await
    }

    fn broke_off(&self, failure: Failure) -> Error {
        let message =
            format!("the download of {} broke off after {} bytes: {}", self.remote_path, self.received, failure.error);
        let mut error = Error::new(Kind::Download, message)
            .with_hint("the result stays with the service: download it again")
            .with_source(failure.error);
        error.retryable = true;
        error
    }
}

/// A body's chunks, whatever their sizes, in pieces fit for a blocking thread.
struct Batches {
    body: Body,
    left: Bytes,
}

impl Batches {
    /// Empty at the end.
    async fn next(&mut self) -> Result<Bytes, Failure> {
        let mut batch = BytesMut::new();
        while batch.len() < BATCH {
            if self.left.is_empty() {
                match self.body.next().await.transpose()? {
                    Some(chunk) => self.left = chunk,
                    None => break,
                }
            }
            let room = BATCH - batch.len();
            let piece = self.left.split_to(room.min(self.left.len()));
            if piece.len() == BATCH {
                return Ok(piece);
            }
            batch.extend_from_slice(&piece);
        }
        Ok(batch.freeze())
    }
}

async fn blocking<T: Send + 'static>(
    remote_path: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    flat(spawn_blocking(work).await, remote_path)
}

fn flat<T>(result: Result<Result<T>, JoinError>, remote_path: &str) -> Result<T> {
    result.unwrap_or_else(|_| Err(stopped(remote_path)))
}

fn stopped(remote_path: &str) -> Error {
    Error::new(Kind::Download, format!("the download of {remote_path} was stopped"))
        .with_hint("the client was closed meanwhile; the result stays with the service: download it again")
}
