//! A Python file object that a download is written to, in a thread of its own: a slow `write`
//! must not block the core's few threads.

use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::python::callers_object::CallersObject;
use crate::python::errors::from_pyerr;
use crate::python::gil_gate::{attach, call_python};
use crate::transfer::Sink;

/// A piece to write, and where to send the result.
type WriteRequest = (Bytes, oneshot::Sender<Result<()>>);

/// A file object and the thread that writes to it. The thread is started for the first piece.
pub struct FileObjectSink {
    object: Option<CallersObject>,
    writer: Option<mpsc::Sender<WriteRequest>>,
}

impl FileObjectSink {
    pub fn new(object: Py<PyAny>) -> Self {
        Self { object: Some(CallersObject::new(object)), writer: None }
    }

    fn writer(&mut self) -> Result<&mpsc::Sender<WriteRequest>> {
        // The thread starts with the first piece: an empty or failed download needs none.
        if let Some(object) = self.object.take() {
            let (writer, requests) = mpsc::channel::<WriteRequest>();
            let name = "mde-live-response-file".to_owned();
            let started = thread::Builder::new().name(name).spawn(move || {
                // The loop ends when the sink, which holds the sender, is dropped.
                for (piece, done) in requests {
                    // The send fails if the download has been cancelled.
                    let _ = done.send(write(object.get(), &piece));
                }
            });
            started.map_err(|error| Error::no_threads("mde-live-response-file", error))?;
            self.writer = Some(writer);
        }
        self.writer.as_ref().ok_or_else(writer_stopped_error)
    }
}

impl Sink for FileObjectSink {
    fn write(&mut self, data: Bytes) -> BoxFuture<'_, Result<()>> {
        async move {
            let (done, written) = oneshot::channel();
            self.writer()?.send((data, done)).map_err(|_| writer_stopped_error())?;
            written.await.unwrap_or_else(|_| Err(writer_stopped_error()))
        }
        .boxed()
    }
}

fn write(object: Option<&Py<PyAny>>, mut data: &[u8]) -> Result<()> {
    let Some(object) = object else { return Ok(()) };
    let written = attach(|py| {
        let write = object.bind(py).getattr("write")?;
        while !data.is_empty() {
            let written = call_python(&write, (PyBytes::new(py, data),))?;
            // A raw file may write only a part. One that returns None has written everything.
            let count = written.extract::<Option<usize>>()?.unwrap_or(data.len());
            data = data.get(count..).unwrap_or_default();
            if count == 0 {
                return Err(PyValueError::new_err("the file object does not accept more bytes"));
            }
        }
        Ok(())
    });
    written.ok_or_else(writer_stopped_error)?.map_err(from_pyerr)
}

fn writer_stopped_error() -> Error {
    Error::new(Kind::Download, "the thread that writes to the file object has stopped").with_hint(
        "the process is shutting down or has too many threads; the result stays with the service",
    )
}
