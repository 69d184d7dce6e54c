//! A body's chunks, whatever their sizes, in pieces fit for a blocking thread.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;

use crate::transport::{Failure, ResponseBody};

/// What goes to a blocking thread at once. One batch is read while another is written, and a thread is held for one
/// batch alone: two hundred downloads share the pool's few threads and none waits for another's network.
const BATCH_SIZE: usize = 128 << 10;

pub(super) struct BatchReader {
    body: ResponseBody,
    /// Bytes at the body's beginning that are not wanted.
    skip: u64,
    remainder: Bytes,
    /// The body broke off after what was handed on.
    failure: Option<Failure>,
}

impl BatchReader {
    pub(super) fn new(body: ResponseBody, skip: u64) -> Self {
        Self { body, skip, remainder: Bytes::new(), failure: None }
    }

    /// Empty at the end. What came before a break is handed on before the break is told.
    pub(super) async fn next_batch(&mut self) -> Result<Bytes, Failure> {
        let mut batch = BytesMut::new();
        while batch.len() < BATCH_SIZE && self.fill().await {
            let room = BATCH_SIZE - batch.len();
            let piece = self.remainder.split_to(room.min(self.remainder.len()));
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

    /// Whether there is something left to hand on.
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
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        chunk.advance(passed);
        self.skip -= passed as u64;
        chunk
    }
}
