//! What a request carries: bytes at hand, and files that are read as they are sent.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// A file is read in pieces of this size.
const CHUNK_SIZE: usize = 128 << 10;

/// A body, which may be sent more than once.
#[derive(Clone, Default)]
pub struct RequestBody(Vec<BodyPart>);

#[derive(Clone)]
pub enum BodyPart {
    Bytes(Bytes),
    /// A file of so many bytes; one that turns out to have more or fewer fails the request.
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
            Self::File { path, length } => stream::try_unfold(None, move |reading| {
                let path = path.clone();
                async move {
                    let (mut file, left) = match reading {
                        Some(reading) => reading,
                        None => (File::open(&path).await?, length),
                    };
                    Ok(read_chunk(&mut file, left).await?.map(|piece| {
                        let left = left - piece.len() as u64;
                        (piece, Some((file, left)))
                    }))
                }
            })
            .boxed(),
        }
    }
}

/// The next piece of a file that has `left` bytes to come.
async fn read_chunk(file: &mut File, left: u64) -> io::Result<Option<Bytes>> {
    let mut piece = BytesMut::with_capacity(CHUNK_SIZE);
    // One more than may come, so that a file that has grown is noticed.
    file.take((CHUNK_SIZE as u64).min(left.saturating_add(1))).read_buf(&mut piece).await?;
    let fits =
        if left == 0 { piece.is_empty() } else { !piece.is_empty() && piece.len() as u64 <= left };
    match fits {
        true => Ok(Some(piece.freeze()).filter(|piece| !piece.is_empty())),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file was changed while it was sent",
        )),
    }
}

impl RequestBody {
    pub fn len(&self) -> u64 {
        self.0.iter().map(BodyPart::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as they are to be sent.
    pub fn stream(self) -> BoxStream<'static, io::Result<Bytes>> {
        stream::iter(self.0).flat_map(BodyPart::stream).boxed()
    }

    /// The bytes, where all of them are at hand in one piece.
    pub fn in_memory_bytes(&self) -> Option<Bytes> {
        match self.0.as_slice() {
            [] => Some(Bytes::new()),
            [BodyPart::Bytes(bytes)] => Some(bytes.clone()),
            _ => None,
        }
    }

    /// All of it in one piece.
    pub async fn bytes(self) -> io::Result<Bytes> {
        if let Some(bytes) = self.in_memory_bytes() {
            return Ok(bytes);
        }
        let all = self.stream().try_fold(BytesMut::new(), |mut all, piece| async move {
            all.extend_from_slice(&piece);
            Ok(all)
        });
        all.await.map(BytesMut::freeze)
    }
}

impl<B: Into<Bytes>> From<B> for RequestBody {
    fn from(bytes: B) -> Self {
        Self(vec![BodyPart::Bytes(bytes.into())])
    }
}

impl FromIterator<BodyPart> for RequestBody {
    fn from_iter<I: IntoIterator<Item = BodyPart>>(pieces: I) -> Self {
        Self(pieces.into_iter().collect())
    }
}

impl fmt::Debug for RequestBody {
    /// Without the bytes: a login's hold a secret.
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
    async fn a_file_is_sent_as_long_as_it_was_or_not_at_all() {
        let path = std::env::temp_dir().join(format!("mlr-content-{}", uuid::Uuid::new_v4()));
        let file: Vec<u8> = (0..300_000_u32).map(|at| at as u8).collect();
        std::fs::write(&path, &file).unwrap();
        let content = of(&path, 300_000);
        assert_eq!((content.len(), content.in_memory_bytes()), (300_002, None));
        assert_eq!(content.clone().bytes().await.unwrap(), [b"<", &file[..], b">"].concat());
        assert_eq!(content.bytes().await.unwrap().len(), 300_002, "again from the beginning");
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
