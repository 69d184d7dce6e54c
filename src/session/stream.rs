//! A collected file, piece by piece, for who takes it as it comes.

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

/// Pieces that wait for their taker.
const CHANNEL_CAPACITY: usize = 1;

/// A collected file on its way. Nothing is asked for before the first piece is.
pub struct FileStream {
    session: Session,
    index: u32,
    state: State,
}

enum State {
    NotStarted,
    Running { chunks: mpsc::Receiver<Bytes>, task: JoinHandle<Result<CollectedFile>> },
    Ended,
}

impl FileStream {
    /// The next piece of the file, or the file's description after the last one; nothing once that was given.
    pub async fn next(&mut self) -> Result<Option<StreamItem>> {
        if matches!(self.state, State::NotStarted) {
            self.state = self.start();
        }
        let State::Running { chunks, task } = &mut self.state else { return Ok(None) };
        if let Some(piece) = chunks.recv().await {
            return Ok(Some(StreamItem::Bytes(piece)));
        }
        let ended = task.await;
        self.state = State::Ended;
        ended.unwrap_or_else(|_| Err(abandoned_error())).map(|file| Some(StreamItem::End(file)))
    }

    /// In a task of its own: a caller who stops waiting for one piece may ask for it again.
    fn start(&self) -> State {
        let (sender, chunks) = mpsc::channel(CHANNEL_CAPACITY);
        let (session, index) = (self.session.clone(), self.index);
        let task = trace::spawn(async move {
            session.download(index, Target::Sink(Box::new(ChannelSink(sender)))).await
        });
        State::Running { chunks, task }
    }

    /// Ends the download where it stands.
    pub fn close(&mut self) {
        if let State::Running { task, .. } = std::mem::replace(&mut self.state, State::Ended) {
            task.abort();
        }
    }
}

impl Drop for FileStream {
    fn drop(&mut self) {
        self.close();
    }
}

#[derive(Debug)]
pub enum StreamItem {
    Bytes(Bytes),
    End(CollectedFile),
}

impl Session {
    /// The file that a GetFile collected, piece by piece. No I/O yet.
    pub fn stream(&self, index: u32) -> FileStream {
        FileStream { session: self.clone(), index, state: State::NotStarted }
    }
}

struct ChannelSink(mpsc::Sender<Bytes>);

impl Sink for ChannelSink {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>> {
        async move { self.0.send(data).await.map_err(|_| abandoned_error()) }.boxed()
    }
}

fn abandoned_error() -> Error {
    Error::new(Kind::Download, "the download was left before its end")
        .with_hint("the result stays with the service: stream it again")
}
