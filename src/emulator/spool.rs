//! A large result on the disk, served in pieces, gone when nobody holds it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::script::gzip_encoder;

#[derive(Clone, Debug)]
pub(super) struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    length: u64,
    /// Made here, so removed here.
    ours: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.ours {
            // Nobody is left to be told.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Spool {
    /// A gzip stream of the file at `source`.
    pub fn gzip(source: &Path, name: Option<&str>) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("mde-emulator-{}.gz", Uuid::new_v4()));
        let mut spool = Inner { path, length: 0, ours: true };
        let mut encoder = gzip_encoder(BufWriter::new(File::create(&spool.path)?), name);
        io::copy(&mut BufReader::new(File::open(source)?), &mut encoder)?;
        let file = encoder.finish()?.into_inner()?;
        spool.length = file.metadata()?.len();
        Ok(Self(Arc::new(spool)))
    }

    /// The file at `source` itself.
    pub fn plain(source: &Path) -> io::Result<Self> {
        let length = std::fs::metadata(source)?.len();
        Ok(Self(Arc::new(Inner { path: source.to_owned(), length, ours: false })))
    }

    pub fn len(&self) -> u64 {
        self.0.length
    }

    /// Up to `most` bytes from `start`.
    pub fn read(&self, start: u64, most: u64) -> io::Result<Bytes> {
        let mut file = File::open(&self.0.path)?;
        file.seek(SeekFrom::Start(start))?;
        let mut piece = Vec::new();
        file.take(most).read_to_end(&mut piece)?;
        Ok(Bytes::from(piece))
    }
}
