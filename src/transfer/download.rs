//! Downloads: streamed from the network to disk in bounded batches, and gone on with after a break.

use bytes::{Buf, Bytes};
use http::HeaderValue;
use tokio::task::{JoinError, spawn_blocking};

use super::batch_reader::BatchReader;
use super::blob::{Blob, BlobRange};
use super::file_name;
use super::payload::{DecompressLimits, DecompressedFile, Decompressor};
use super::target::{Output, Sink, Target};
use crate::error::{Error, Kind, Result};
use crate::model::CollectedFile;
use crate::transport::ResponseBody;

/// How often what was had is thrown away because the blob is not the one that it was.
const MAX_RESTARTS: u32 = 2;

/// Saves the file that `body` holds. Nothing is left behind on failure, nor when the future is dropped.
pub async fn save(
    body: ResponseBody,
    target: Target,
    remote_path: &str,
    limits: DecompressLimits,
) -> Result<CollectedFile> {
    let mut download = Download::open(target, remote_path, limits).await?;
    download.receive(Blob { body, offset: 0, length: None, etag: None }).await?;
    download.finish().await
}

/// One file on its way here. After a broken `receive` another blob may go on where [`Download::range`] says.
pub struct Download {
    /// None while it is on a blocking thread, and after it failed for good.
    writer: Option<Box<Writer>>,
    sink: Option<Box<dyn Sink>>,
    remote_path: String,
    received: u64,
    etag: Option<HeaderValue>,
    /// Bytes of the whole payload, where the host told.
    length: Option<u64>,
    restarts: u32,
}

struct Writer {
    decompressor: Decompressor,
    file: DecompressedFile,
}

impl Download {
    /// Opens the target, so that one that can't be written fails before a byte is asked for.
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
            restarts: 0,
        })
    }

    /// What is wanted next. Bytes of the payload count, packed as they came, that are safely through.
    pub fn range(&self) -> BlobRange {
        BlobRange { offset: self.received, etag: self.etag.clone() }
    }

    /// Whether another blob may go on with it.
    pub fn is_resumable(&self) -> bool {
        self.writer.is_some()
    }

    /// Takes a blob to its end. Where that fails and the download [is open](Self::is_resumable), it broke off.
    pub async fn receive(&mut self, blob: Blob) -> Result<()> {
        let Blob { body, offset, length, etag } = blob;
        let skip = self.align(offset, length, etag).await?;
        let mut batches = BatchReader::new(body, skip);
        let mut batch = Ok(Bytes::new());
        loop {
            batch = match batch {
                Ok(batch) => {
                    // A disk that fails ends both; a network that fails lets the writing end first.
                    let ((), next) = tokio::try_join!(self.write_batch(batch), async {
                        Ok(batches.next_batch().await)
                    })?;
                    next
                }
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

    /// How much of the blob is here already. One that is not what it was is begun anew.
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
        if self.received < offset {
            return Err(self
                .interrupted_error("the result is not the one that it was, and is fetched anew"));
        }
        (self.etag, self.length) = (etag, length.or(self.length));
        Ok(self.received - offset)
    }

    /// Throws away what is here.
    pub async fn restart(&mut self) -> Result<()> {
        let mut writer = self.writer.take().ok_or_else(|| cancelled_error(&self.remote_path))?;
        let begun = self.sink.is_some() && writer.file.size() > 0;
        if begun || self.restarts == MAX_RESTARTS {
            let message = format!(
                "the result of {} changed at the service while it was fetched",
                self.remote_path
            );
            let mut error = Error::new(Kind::Download, message).with_hint(
                "what was written of it is not to be used; download it again, into something new",
            );
            error.retryable = true;
            return Err(error);
        }
        self.restarts += 1;
        (self.received, self.etag, self.length) = (0, None, None);
        let restarted = blocking(&self.remote_path, move || {
            writer.decompressor = Decompressor::new();
            writer.file.restart()?;
            Ok(writer)
        });
        self.writer = Some(restarted.await?);
        Ok(())
    }

    /// Unpacks and hands on; a sink gets it piece by piece, so that little is held of what unpacks to much.
    async fn write_batch(&mut self, mut batch: Bytes) -> Result<()> {
        while !batch.is_empty() {
            let mut writer =
                self.writer.take().ok_or_else(|| cancelled_error(&self.remote_path))?;
            let unpacking = blocking(&self.remote_path, move || {
                let used = writer.decompressor.push(&batch, &mut writer.file)?;
                batch.advance(used);
                let unpacked = writer.file.output.take();
                Ok((writer, batch, used, unpacked))
            });
            let (writer, left, used, unpacked) = unpacking.await?;
            self.write_to_sink(unpacked).await?;
            self.writer = Some(writer);
            self.received += used as u64;
            batch = left;
        }
        Ok(())
    }

    async fn write_to_sink(&mut self, unpacked: Bytes) -> Result<()> {
        match &mut self.sink {
            Some(sink) if !unpacked.is_empty() => sink.write(unpacked).await,
            _ => Ok(()),
        }
    }

    /// A body that ended early without a word.
    fn check_length(&self) -> Result<()> {
        match self.length {
            Some(length) if self.received < length => {
                Err(self.interrupted_error(&format!("it has {length}")))
            }
            _ => Ok(()),
        }
    }

    /// Checks the payload's end and gives the file its name.
    pub async fn finish(mut self) -> Result<CollectedFile> {
        let mut writer = self.writer.take().ok_or_else(|| cancelled_error(&self.remote_path))?;
        let finishing = blocking(&self.remote_path, move || {
            writer.decompressor.finish(&mut writer.file)?;
            let unpacked = writer.file.output.take();
            Ok((writer, unpacked))
        });
        let (writer, unpacked) = finishing.await?;
        self.write_to_sink(unpacked).await?;
        let remote_path = self.remote_path.clone();
        blocking(&self.remote_path, move || writer.publish(remote_path)).await
    }

    fn interrupted_error(&self, why: &str) -> Error {
        let message = format!(
            "the download of {} broke off after {} bytes: {why}",
            self.remote_path, self.received
        );
        let mut error = Error::new(Kind::Download, message)
            .with_hint("the result stays with the service: download it again");
        error.retryable = true;
        error
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

async fn blocking<T: Send + 'static>(
    remote_path: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    flatten_join(spawn_blocking(work).await, remote_path)
}

fn flatten_join<T>(result: Result<Result<T>, JoinError>, remote_path: &str) -> Result<T> {
    result.unwrap_or_else(|_| Err(cancelled_error(remote_path)))
}

fn cancelled_error(remote_path: &str) -> Error {
    Error::new(Kind::Download, format!("the download of {remote_path} was stopped")).with_hint(
        "the client was closed meanwhile; the result stays with the service: download it again",
    )
}
