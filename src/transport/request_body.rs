//! Request bodies: bytes in memory, and files that are read while they are sent.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// Bytes of one read of a file.
const CHUNK_SIZE: usize = 128 << 10;

/// Decides at the last moment whether a body may still be sent.
pub type SendCheck = Arc<dyn Fn() -> bool + Send + Sync>;

/// The error of a body whose check failed: no byte of it was sent.
#[derive(Debug)]
pub struct SendCheckFailed;

impl fmt::Display for SendCheckFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the process was stopped for so long that the request may no longer be sent")
    }
}

impl std::error::Error for SendCheckFailed {}

/// A body that can be sent again for a retry.
#[derive(Clone, Default)]
pub struct RequestBody {
    parts: Vec<BodyPart>,
    check: Option<SendCheck>,
}

/// A part of a body.
#[derive(Clone)]
pub enum BodyPart {
    Bytes(Bytes),
    /// A file. The request fails if the file does not have `length` bytes.
    File {
        path: Arc<Path>,
        length: u64,
    },
}

impl BodyPart {
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { length, .. } => *length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        match self {
            Self::Bytes(bytes) => stream::iter([Ok(bytes)]).boxed(),
            // Opened when polled, so that a retry reads the file from the start.
            Self::File { path, length } => stream::try_unfold(None, move |reading| {
                let path = path.clone();
                async move {
                    let (mut file, left) = match reading {
                        Some(reading) => reading,
                        None => (File::open(&path).await?, length),
                    };
                    Ok(read_chunk(&mut file, left).await?.map(|chunk| {
                        let left = left - chunk.len() as u64;
                        (chunk, Some((file, left)))
                    }))
                }
            })
            .boxed(),
        }
    }
}

/// Reads the next chunk of a file with `left` bytes to read.
async fn read_chunk(file: &mut File, left: u64) -> io::Result<Option<Bytes>> {
    let mut chunk = BytesMut::with_capacity(CHUNK_SIZE);
    // One byte more than expected, to detect a file that has grown.
    file.take((CHUNK_SIZE as u64).min(left.saturating_add(1))).read_buf(&mut chunk).await?;
    let fits =
        if left == 0 { chunk.is_empty() } else { !chunk.is_empty() && chunk.len() as u64 <= left };
    match fits {
        true => Ok(Some(chunk.freeze()).filter(|chunk| !chunk.is_empty())),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file was changed during the upload",
        )),
    }
}

impl RequestBody {
    /// Returns the same body, which is sent only if `check` passes at the last moment.
    pub fn with_check(self, check: SendCheck) -> Self {
        Self { check: Some(check), ..self }
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> u64 {
        self.parts.iter().map(BodyPart::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes as a stream.
    pub fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        let Self { parts, check } = self;
        // Checked when polled, not before: connecting may take long.
        let checked = stream::once(async move {
            match check {
                Some(check) if !check() => Err(io::Error::other(SendCheckFailed)),
                _ => Ok(Bytes::new()),
            }
        });
        let parts = stream::iter(parts).flat_map(BodyPart::stream);
        checked.chain(parts).try_filter(|chunk| std::future::ready(!chunk.is_empty())).boxed()
    }

    /// Returns the bytes, if all of them are in memory in one part.
    pub fn in_memory_bytes(&self) -> Option<Bytes> {
        match self.parts.as_slice() {
            _ if self.check.is_some() => None,
            [] => Some(Bytes::new()),
            [BodyPart::Bytes(bytes)] => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Reads the whole body into memory.
    pub async fn bytes(self) -> io::Result<Bytes> {
        if let Some(bytes) = self.in_memory_bytes() {
            return Ok(bytes);
        }
        let all = self.stream().try_fold(BytesMut::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        all.await.map(BytesMut::freeze)
    }
}

impl<B: Into<Bytes>> From<B> for RequestBody {
    fn from(bytes: B) -> Self {
        Self { parts: vec![BodyPart::Bytes(bytes.into())], check: None }
    }
}

impl FromIterator<BodyPart> for RequestBody {
    fn from_iter<I: IntoIterator<Item = BodyPart>>(parts: I) -> Self {
        Self { parts: parts.into_iter().collect(), check: None }
    }
}

impl fmt::Debug for RequestBody {
    /// Prints the size only: the body of a login holds a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestBody({} bytes)", self.len())
    }
}

impl fmt::Debug for BodyPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodyPart({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &Path, length: u64) -> RequestBody {
        let bytes = |text: &'static str| BodyPart::Bytes(Bytes::from_static(text.as_bytes()));
        [bytes("<"), BodyPart::File { path: path.into(), length }, bytes(">")].into_iter().collect()
    }

    #[tokio::test]
    async fn a_file_of_another_length_fails_the_request() {
        let path = std::env::temp_dir().join(format!("mlr-content-{}", uuid::Uuid::new_v4()));
        let file: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
        std::fs::write(&path, &file).unwrap();
        let content = of(&path, 300_000);
        assert_eq!((content.len(), content.in_memory_bytes()), (300_002, None));
        assert_eq!(content.clone().bytes().await.unwrap(), [b"<", &file[..], b">"].concat());
        assert_eq!(content.bytes().await.unwrap().len(), 300_002, "read again from the start");
        for length in [0, 1, 299_999, 300_001, u64::MAX] {
            let error = of(&path, length).bytes().await.unwrap_err();
            assert!(error.to_string().contains("was changed"), "{length}: {error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(of(&path, 1).bytes().await.unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(RequestBody::from("x").in_memory_bytes().unwrap(), "x");
        assert!(RequestBody::default().is_empty());
    }
}
