//! A large result on the disk, served in pieces, gone when nobody holds it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::emulator::session::script::gzip_encoder;

#[derive(Clone, Debug)]
pub struct SpooledFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    length: u64,
    /// Made here, so removed here.
    delete_on_drop: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.delete_on_drop {
            // Nobody is left to be told.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl SpooledFile {
    /// A gzip stream of the file at `source`.
    pub fn gzip(source: &Path, name: Option<&str>) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("mde-emulator-{}.gz", Uuid::new_v4()));
        let mut inner = Inner { path, length: 0, delete_on_drop: true };
        let mut encoder = gzip_encoder(BufWriter::new(File::create(&inner.path)?), name);
        io::copy(&mut BufReader::new(File::open(source)?), &mut encoder)?;
        let file = encoder.finish()?.into_inner()?;
        inner.length = file.metadata()?.len();
        Ok(Self(Arc::new(inner)))
    }

    /// The file at `source` itself.
    pub fn open(source: &Path) -> io::Result<Self> {
        let length = std::fs::metadata(source)?.len();
        Ok(Self(Arc::new(Inner { path: source.to_owned(), length, delete_on_drop: false })))
    }

    pub fn len(&self) -> u64 {
        self.0.length
    }

    /// Up to `max_bytes` bytes from `start`.
    pub fn read(&self, start: u64, max_bytes: u64) -> io::Result<Bytes> {
        let mut file = File::open(&self.0.path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut chunk = Vec::new();
        file.take(max_bytes).read_to_end(&mut chunk)?;
        Ok(Bytes::from(chunk))
    }
}
