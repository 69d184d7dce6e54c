//! Resumable downloads, streamed from the network to the target in bounded batches.

mod checks;

use bytes::{Buf, Bytes};
use http::HeaderValue;
use tokio::task::{JoinError, spawn_blocking};

use super::batch_reader::BatchReader;
use super::blob::{Blob, BlobRange};
use super::file_name;
use super::origin::Origin;
use super::payload::{DecompressLimits, DecompressedFile, Decompressor};
use super::target::{Output, Sink, Target};
use crate::error::{Error, Kind, Result};
use crate::model::CollectedFile;
use crate::transport::ResponseBody;

/// Times that a download starts over because the blob has changed.
const MAX_RESTARTS: u32 = 2;

/// Saves the file in `body`. On failure, or if the future is dropped, no file is left behind.
pub async fn save(
    body: ResponseBody,
    target: Target,
    remote_path: &str,
    limits: DecompressLimits,
) -> Result<CollectedFile> {
    let mut download = Download::open(target, remote_path, limits).await?;
    let origin = Origin::TRUSTED;
    download.receive(Blob { body, offset: 0, length: None, etag: None, origin }).await?;
    download.finish().await
}

/// Saves bytes durably as the file `name` of a folder, or at a path.
pub async fn save_bytes(target: Target, name: &str, content: &Bytes) -> Result<()> {
    let (file_name, content) = (name.to_owned(), content.clone());
    let saving = blocking(name, move || {
        let (mut output, _) = Output::open(target)?;
        output.write(&content)?;
        output.finish(&file_name).map(drop)
    });
    saving.await
}

/// A download of one file. After `receive` has failed, another blob can continue it from
/// [`Download::range`].
pub struct Download {
    /// None while a blocking task has it, and after a permanent failure.
    writer: Option<Box<Writer>>,
    sink: Option<Box<dyn Sink>>,
    remote_path: String,
    received: u64,
    etag: Option<HeaderValue>,
    /// Size of the whole payload in bytes, if the host said.
    length: Option<u64>,
    /// The sender of the bytes that were received.
    origin: Option<Origin>,
    restarts: u32,
    /// The last payload began as a gzip stream.
    was_gzip: bool,
}

struct Writer {
    decompressor: Decompressor,
    file: DecompressedFile,
}

impl Download {
    /// Opens the target. A target that cannot be written fails here, before any request.
    pub async fn open(target: Target, remote_path: &str, limits: DecompressLimits) -> Result<Self> {
        let path = remote_path.to_owned();
        let opened = blocking(remote_path, move || {
            let (output, sink) = Output::open(target)?;
            let file = DecompressedFile::new(output, &path, limits);
            Ok((Box::new(Writer { decompressor: Decompressor::new(), file }), sink))
        });
        let (writer, sink) = opened.await?;
        let remote_path = remote_path.to_owned();
        Ok(Self {
            writer: Some(writer),
            sink,
            remote_path,
            received: 0,
            etag: None,
            length: None,
            origin: None,
            restarts: 0,
            was_gzip: false,
        })
    }

    /// Returns the range to request next. Its offset counts bytes of the payload as sent, not of
    /// the decompressed file.
    pub fn range(&self) -> BlobRange {
        BlobRange { offset: self.received, etag: self.etag.clone() }
    }

    /// Returns whether another blob can continue the download.
    pub fn is_resumable(&self) -> bool {
        self.writer.is_some() && !self.is_damaged()
    }

    /// Returns whether the payload was no result, or a damaged one: see [`Self::discard`].
    pub fn is_damaged(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| writer.file.is_damaged())
    }

    /// Receives a blob to its end. After an error, the download may still be
    /// [resumable](Self::is_resumable).
    pub async fn receive(&mut self, blob: Blob) -> Result<()> {
        let Blob { body, offset, length, etag, origin } = blob;
        // A page that is sent in place of the rest must not replace what was received.
        if self.received > 0 && self.origin.as_ref().is_some_and(|it| origin.is_weaker_than(it)) {
            return Err(self.page_error(&origin.describe_page(b"?")));
        }
        let skip = self.align(offset, length, etag).await?;
        self.origin = Some(origin);
        let mut batches = BatchReader::new(body, skip);
        let mut batch = Ok(Bytes::new());
        loop {
            batch = match batch {
                Ok(batch) => {
                    self.check_start(&batch)?;
                    // A write error ends both at once. A network failure comes as a value, so the
                    // write ends first and its bytes count.
                    let ((), next) = tokio::try_join!(self.write_batch(batch), async {
                        Ok(batches.next_batch().await)
                    })?;
                    next
                }
                // The connection broke after the last byte.
                Err(_) if self.length == Some(self.received) => return Ok(()),
                Err(failure) => {
                    return Err(self
                        .interrupted_error(&failure.error.message)
                        .with_source(failure.error));
                }
            };
            if matches!(&batch, Ok(batch) if batch.is_empty()) {
                return self.check_length();
            }
        }
    }

    /// Returns how many bytes of the blob are here already. If the blob has changed, the download
    /// starts over.
    async fn align(
        &mut self,
        offset: u64,
        length: Option<u64>,
        etag: Option<HeaderValue>,
    ) -> Result<u64> {
        let known = self.etag.is_some() && self.etag == etag;
        let as_long = self.length.zip(length).is_none_or(|(before, now)| before == now);
        if self.received > 0 && !(known && as_long) {
            self.restart().await?;
        }
        // After a restart, the rest of a blob is useless: the next try requests all of it.
        if self.received < offset {
            return Err(self.interrupted_error("the result has changed, and is downloaded again"));
        }
        (self.etag, self.length) = (etag, length.or(self.length));
        Ok(self.received - offset)
    }

    /// Starts over because the blob has changed.
    pub async fn restart(&mut self) -> Result<()> {
        if self.restarts == MAX_RESTARTS || !self.discard().await? {
            self.writer = None;
            let message = format!(
                "the result of {} changed at the service during the download",
                self.remote_path
            );
            let mut error = Error::new(Kind::Download, message).with_hint(
                "do not use what was written so far; download the result again, into a new target",
            );
            error.retryable = true;
            return Err(error);
        }
        self.restarts += 1;
        Ok(())
    }

    /// Discards what was received. Returns false if a sink has taken bytes, which cannot be taken
    /// back.
    pub async fn discard(&mut self) -> Result<bool> {
        let mut writer = self.writer.take().ok_or_else(|| cancelled_error(&self.remote_path))?;
        if self.sink.is_some() && writer.file.size() > 0 {
            return Ok(false);
        }
        (self.received, self.etag, self.length, self.origin) = (0, None, None, None);
        let restarted = blocking(&self.remote_path, move || {
            writer.decompressor = Decompressor::new();
            writer.file.restart()?;
            Ok(writer)
        });
        self.writer = Some(restarted.await?);
        Ok(true)
    }

    /// Decompresses a batch and writes it. A sink gets it in pieces, because a small batch may
    /// decompress to many megabytes.
    async fn write_batch(&mut self, mut batch: Bytes) -> Result<()> {
        while !batch.is_empty() {
            let mut writer =
                self.writer.take().ok_or_else(|| cancelled_error(&self.remote_path))?;
            let decompressing = blocking(&self.remote_path, move || {
                let pushed = writer.decompressor.push(&batch, &mut writer.file);
                if !writer.file.is_damaged() {
                    batch.advance(pushed.clone()?);
                }
                let decompressed = writer.file.output.take();
                Ok((writer, batch, pushed, decompressed))
            });
            let (writer, left, pushed, decompressed) = decompressing.await?;
            self.write_to_sink(decompressed).await?;
            self.writer = Some(writer);
            self.received += pushed.map_err(|error| self.damaged_error(error))? as u64;
            batch = left;
        }
        Ok(())
    }

    async fn write_to_sink(&mut self, data: Bytes) -> Result<()> {
        match &mut self.sink {
            Some(sink) if !data.is_empty() => sink.write(data).await,
            _ => Ok(()),
        }
    }

    /// Checks the end of a gzip.
    async fn end_payload(&mut self) -> Result<()> {
        let mut writer = self.writer.take().ok_or_else(|| cancelled_error(&self.remote_path))?;
        let ending = blocking(&self.remote_path, move || {
            let ended = writer.decompressor.finish(&mut writer.file);
            if !writer.file.is_damaged() {
                ended.clone()?;
            }
            let decompressed = writer.file.output.take();
            Ok((writer, ended, decompressed))
        });
        let (writer, ended, decompressed) = ending.await?;
        self.write_to_sink(decompressed).await?;
        self.received = writer.decompressor.received();
        self.writer = Some(writer);
        ended.map_err(|error| self.damaged_error(error))
    }

    /// Gives the file its final name.
    pub async fn finish(mut self) -> Result<CollectedFile> {
        self.end_payload().await?;
        let writer = self.writer.take().ok_or_else(|| cancelled_error(&self.remote_path))?;
        let remote_path = self.remote_path.clone();
        blocking(&self.remote_path, move || writer.publish(remote_path)).await
    }
}

impl Writer {
    fn publish(self, remote_path: String) -> Result<CollectedFile> {
        let Self { decompressor, file } = self;
        let name =
            file_name::for_collected_file(decompressor.original_name().as_deref(), &remote_path);
        let (output, size, sha256) = file.into_parts();
        let path = output.finish(&name)?.map(|path| path.to_string_lossy().into_owned());
        let (payload, received_size) = (decompressor.payload(), decompressor.received());
        let received_sha256 = decompressor.sha256().unwrap_or_else(|| sha256.clone());
        Ok(CollectedFile {
            remote_path,
            path,
            name,
            size,
            sha256,
            payload,
            received_size,
            received_sha256,
        })
    }
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    remote_path: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    flatten_join(spawn_blocking(work).await, remote_path)
}

fn flatten_join<T>(result: Result<Result<T>, JoinError>, remote_path: &str) -> Result<T> {
    // The task panicked, or the runtime is shutting down.
    result.unwrap_or_else(|_| Err(cancelled_error(remote_path)))
}

fn cancelled_error(remote_path: &str) -> Error {
    Error::new(Kind::Download, format!("the download of {remote_path} was cancelled")).with_hint(
        "the client was closed during it; the result stays at the service: download it again",
    )
}
