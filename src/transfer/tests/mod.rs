use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::GzBuilder;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::digest::sha256_hex;
use crate::error::{Error, Kind, Result};
use crate::model::{CollectedFile, PayloadFormat};
use crate::transport::Failure;

mod payloads;
mod resume;
mod targets;

type TestBody = BoxStream<'static, Result<Bytes, Failure>>;

/// A folder that is removed at the end of its test.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("mlr-test-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn folder(&self, index: usize) -> Target {
        Target::Folder { folder: self.0.clone(), index }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A sink that keeps its bytes for the test.
#[derive(Clone, Default)]
struct MemorySink(Arc<Mutex<Vec<u8>>>);

impl Sink for MemorySink {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>> {
        self.0.lock().unwrap().extend_from_slice(&data);
        std::future::ready(Ok(())).boxed()
    }
}

impl MemorySink {
    fn target(&self) -> Target {
        Target::Sink(Box::new(self.clone()))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

fn gzip(bytes: &[u8], name: Option<&[u8]>) -> Vec<u8> {
    let mut builder = GzBuilder::new();
    if let Some(name) = name {
        builder = builder.filename(name);
    }
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn body(bytes: &[u8], chunk: usize) -> TestBody {
    let chunks: Vec<_> =
        bytes.chunks(chunk).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    stream::iter(chunks).boxed()
}

fn blob_at(body: TestBody, offset: u64, etag: &'static str) -> Blob {
    let etag = Some(http::HeaderValue::from_static(etag));
    Blob { body, offset, length: None, etag, origin: Origin::TRUSTED }
}

fn reset() -> Failure {
    Failure {
        sent: true,
        error: Error::new(Kind::ConnectionFailed, "store1.blob closed the connection: reset"),
    }
}

const REMOTE_PATH: &str = r"C:\Temp\a.txt";

async fn save_bytes(bytes: &[u8], chunk: usize, target: Target) -> Result<CollectedFile> {
    save(body(bytes, chunk), target, REMOTE_PATH, DecompressLimits::default()).await
}

fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(0..32)).collect()
}
