//! A large result on disk. It is served in chunks and removed when its last handle is dropped.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use uuid::Uuid;

use crate::emulator::wire::compress::gzip_encoder;

/// How much of a file is read at a time.
const CHUNK_SIZE: u64 = 256 << 10;

#[derive(Clone, Debug)]
pub struct SpooledFile(Arc<FileOnDisk>);

#[derive(Debug)]
struct FileOnDisk {
    path: PathBuf,
    length: u64,
    /// Set for a temporary file, but not for a file of the caller's.
    delete_on_drop: bool,
}

impl Drop for FileOnDisk {
    fn drop(&mut self) {
        if self.delete_on_drop {
            // There is no caller to report an error to, and the file is in the temporary folder.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl SpooledFile {
    /// Compresses the file at `source` into a temporary file.
    pub fn gzip(source: &Path, name: Option<&str>) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("mde-emulator-{}.gz", Uuid::new_v4()));
        let mut target = FileOnDisk { path, length: 0, delete_on_drop: true };
        let mut encoder = gzip_encoder(BufWriter::new(File::create(&target.path)?), name);
        io::copy(&mut BufReader::new(File::open(source)?), &mut encoder)?;
        let file = encoder.finish()?.into_inner()?;
        target.length = file.metadata()?.len();
        Ok(Self(Arc::new(target)))
    }

    /// Serves the file at `source` without a copy.
    pub fn open(source: &Path) -> io::Result<Self> {
        let length = std::fs::metadata(source)?.len();
        Ok(Self(Arc::new(FileOnDisk { path: source.to_owned(), length, delete_on_drop: false })))
    }

    pub fn len(&self) -> u64 {
        self.0.length
    }

    /// Reads up to `max_bytes` bytes from `start`. Blocks.
    fn read(&self, start: u64, max_bytes: u64) -> io::Result<Bytes> {
        let mut file = File::open(&self.0.path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut chunk = Vec::new();
        file.take(max_bytes).read_to_end(&mut chunk)?;
        Ok(Bytes::from(chunk))
    }

    /// Reads `start..end` in chunks, each on a thread that may block.
    pub fn read_chunks(self, start: u64, end: u64) -> BoxStream<'static, io::Result<Bytes>> {
        stream::unfold(start, move |at| {
            let file = self.clone();
            async move {
                if at >= end {
                    return None;
                }
                let size = CHUNK_SIZE.min(end - at);
                let read = tokio::task::spawn_blocking(move || file.read(at, size)).await;
                match read.unwrap_or_else(|error| Err(error.into())) {
                    // The file became shorter since it was opened.
                    Ok(chunk) if chunk.is_empty() => None,
                    Ok(chunk) => {
                        let next = at + chunk.len() as u64;
                        Some((Ok(chunk), next))
                    }
                    Err(error) => Some((Err(error), end)),
                }
            }
        })
        .boxed()
    }
}
