//! A collected file as a stream of chunks.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Session;
use crate::error::{Error, Kind, Result};
use crate::model::CollectedFile;
use crate::trace;
use crate::transfer::{Sink, Target};

/// Chunks that wait for the consumer. One is enough, and bounds the memory.
const CHANNEL_CAPACITY: usize = 1;

/// A collected file that is being downloaded. The download starts with the first call of `next`.
pub struct FileStream {
    session: Session,
    index: u32,
    state: StreamState,
}

enum StreamState {
    NotStarted,
    Running { chunks: mpsc::Receiver<Bytes>, task: JoinHandle<Result<CollectedFile>> },
    Ended,
}

impl FileStream {
    /// Returns the next chunk, after the last one the file's metadata, and then None.
    pub async fn next(&mut self) -> Result<Option<StreamItem>> {
        if matches!(self.state, StreamState::NotStarted) {
            self.state = self.start();
        }
        let StreamState::Running { chunks, task } = &mut self.state else { return Ok(None) };
        if let Some(chunk) = chunks.recv().await {
            return Ok(Some(StreamItem::Bytes(chunk)));
        }
        // All chunks were read, so the task has ended or is about to.
        let ended = task.await;
        self.state = StreamState::Ended;
        ended.unwrap_or_else(|_| Err(stopped_error())).map(|file| Some(StreamItem::End(file)))
    }

    fn start(&self) -> StreamState {
        // The download runs in its own task: a cancelled `next` must lose no chunk.
        let (sender, chunks) = mpsc::channel(CHANNEL_CAPACITY);
        let (session, index) = (self.session.clone(), self.index);
        let task = trace::spawn(async move {
            session.download(index, Target::Sink(Box::new(ChannelSink(sender)))).await
        });
        StreamState::Running { chunks, task }
    }

    /// Stops the download.
    pub fn close(&mut self) {
        if let StreamState::Running { task, .. } =
            std::mem::replace(&mut self.state, StreamState::Ended)
        {
            task.abort();
        }
    }
}

impl Drop for FileStream {
    fn drop(&mut self) {
        self.close();
    }
}

/// An item of a file stream: chunks, then the file's metadata.
#[derive(Debug)]
pub enum StreamItem {
    Bytes(Bytes),
    End(CollectedFile),
}

impl Session {
    /// Returns a stream of the file of the GetFile command at `index`. Sends no request yet.
    pub fn stream(&self, index: u32) -> FileStream {
        FileStream { session: self.clone(), index, state: StreamState::NotStarted }
    }
}

struct ChannelSink(mpsc::Sender<Bytes>);

impl Sink for ChannelSink {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>> {
        async move { self.0.send(data).await.map_err(|_| stopped_error()) }.boxed()
    }
}

fn stopped_error() -> Error {
    Error::new(Kind::Download, "the download was stopped before its end")
        .with_hint("the service still has the result: stream it again")
}
