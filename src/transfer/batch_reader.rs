//! Joins and splits the chunks of a body into batches for a blocking thread.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;

use crate::transport::{Failure, ResponseBody};

/// Bytes that one blocking task writes. A download holds a thread for one batch only, so hundreds
/// of downloads share a few threads and none waits for the network of another.
const BATCH_SIZE: usize = 256 << 10;

pub(super) struct BatchReader {
    body: ResponseBody,
    /// Bytes at the start of the body to drop.
    skip: u64,
    remainder: Bytes,
    /// Why the body broke off, until the bytes before it have been returned.
    failure: Option<Failure>,
}

impl BatchReader {
    pub(super) fn new(body: ResponseBody, skip: u64) -> Self {
        Self { body, skip, remainder: Bytes::new(), failure: None }
    }

    /// Returns the next batch, empty at the end. All bytes that arrived come before the failure.
    pub(super) async fn next_batch(&mut self) -> Result<Bytes, Failure> {
        let mut batch = BytesMut::new();
        while batch.len() < BATCH_SIZE && self.fill().await {
            let room = BATCH_SIZE - batch.len();
            let piece = self.remainder.split_to(room.min(self.remainder.len()));
            // A large chunk needs no copy.
            if piece.len() == BATCH_SIZE {
                return Ok(piece);
            }
            batch.extend_from_slice(&piece);
        }
        match self.failure.take_if(|_| batch.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok(batch.freeze()),
        }
    }

    /// Reads the next chunk if none is left. Returns false at the end of the body.
    async fn fill(&mut self) -> bool {
        while self.remainder.is_empty() && self.failure.is_none() {
            match self.body.next().await {
                Some(Ok(chunk)) => self.remainder = self.skip_prefix(chunk),
                Some(Err(failure)) => self.failure = Some(failure),
                None => return false,
            }
        }
        !self.remainder.is_empty()
    }

    fn skip_prefix(&mut self, mut chunk: Bytes) -> Bytes {
        let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        chunk.advance(skipped);
        self.skip -= skipped as u64;
        chunk
    }
}
