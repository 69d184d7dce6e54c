//! A body's chunks, whatever their sizes, in pieces fit for a blocking thread.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;

use crate::transport::{Body, Failure};

/// What goes to a blocking thread at once. One batch is read while another is written, and a thread is held for one
/// batch alone: two hundred downloads share the pool's few threads and none waits for another's network.
const BATCH: usize = 128 << 10;

pub(super) struct Batches {
    body: Body,
    /// Bytes at the body's beginning that are not wanted.
    skip: u64,
    left: Bytes,
    /// The body broke off after what was handed on.
    broken: Option<Failure>,
}

impl Batches {
    pub(super) fn new(body: Body, skip: u64) -> Self {
        Self { body, skip, left: Bytes::new(), broken: None }
    }

    /// Empty at the end. What came before a break is handed on before the break is told.
    pub(super) async fn next(&mut self) -> Result<Bytes, Failure> {
        let mut batch = BytesMut::new();
        while batch.len() < BATCH && self.fill().await {
            let room = BATCH - batch.len();
            let piece = self.left.split_to(room.min(self.left.len()));
            if piece.len() == BATCH {
                return Ok(piece);
            }
            batch.extend_from_slice(&piece);
        }
        match self.broken.take_if(|_| batch.is_empty()) {
            Some(failure) => Err(failure),
            None => Ok(batch.freeze()),
        }
    }

    /// Whether there is something left to hand on.
    async fn fill(&mut self) -> bool {
        while self.left.is_empty() && self.broken.is_none() {
            match self.body.next().await {
                Some(Ok(chunk)) => self.left = self.wanted(chunk),
                Some(Err(failure)) => self.broken = Some(failure),
                None => return false,
            }
        }
        !self.left.is_empty()
    }

    fn wanted(&mut self, mut chunk: Bytes) -> Bytes {
        let passed = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
        chunk.advance(passed);
        self.skip -= passed as u64;
        chunk
    }
}
