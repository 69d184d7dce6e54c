//! The delivery thread: it passes finished tasks to their event loops, and wakes each loop once
//! per batch.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyList, PyTuple};

use super::core_task::Completion;
use crate::error::{Error, Result};
use crate::model::MachineAction;
use crate::python::convert::IntoPython;
use crate::python::gil_gate::{self, enter};
use crate::python::logging::queue::{FLUSH_TIMEOUT, LogQueue};

const MAX_BATCH: usize = 256;

/// The asyncio future that a task's value is for, and its event loop.
pub struct LoopFuture {
    pub event_loop: Py<PyAny>,
    pub future: Py<PyAny>,
}

/// What is delivered: a status for the caller's `on_update`, or the end of the task.
pub enum LoopEvent {
    Update(Arc<LoopCallback>, Box<MachineAction>),
    Done(Completion),
}

/// The caller's `on_update`, which runs in the context of the coroutine that awaits.
pub struct LoopCallback {
    run_in_context: Py<PyAny>,
    callable: Py<PyAny>,
}

impl LoopCallback {
    pub fn new(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Self> {
        let _inside = enter(py);
        let context = py.import("contextvars")?.call_method0("copy_context")?;
        Ok(Self { run_in_context: context.getattr("run")?.unbind(), callable })
    }
}

enum Message {
    Deliver(Arc<LoopFuture>, LoopEvent),
    /// Log records are queued and no thread passes them to `logging` yet.
    StartLogThread,
    Stop,
}

/// The thread. It runs until `stop`.
pub struct DeliveryThread {
    sender: DeliverySender,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Sends to the thread. A running task holds one.
#[derive(Clone)]
pub struct DeliverySender(Sender<Message>);

impl DeliverySender {
    pub fn send(&self, loop_future: Arc<LoopFuture>, event: LoopEvent) {
        // The send fails once the thread has stopped: the interpreter is exiting and nobody
        // awaits.
        let _ = self.0.send(Message::Deliver(loop_future, event));
    }
}

impl DeliveryThread {
    /// Starts the thread. It also starts the thread of the returned log queue when one is
    /// needed.
    pub fn start() -> Result<(Self, Arc<LogQueue>)> {
        let (messages, incoming) = channel();
        let sender = DeliverySender(messages);
        let log_queue = {
            let sender = sender.clone();
            Arc::new(LogQueue::new(move || {
                let _ = sender.0.send(Message::StartLogThread);
            }))
        };
        let thread_queue = log_queue.clone();
        let thread = std::thread::Builder::new()
            .name("mde-live-response-delivery".to_owned())
            .spawn(move || run_delivery_loop(&incoming, &thread_queue))
            .map_err(|error| Error::no_threads("mde-live-response", error))?;
        Ok((Self { sender, thread: Mutex::new(Some(thread)) }, log_queue))
    }

    pub fn sender(&self) -> DeliverySender {
        self.sender.clone()
    }

    /// Delivers everything sent so far, then stops the thread. Call it without the GIL.
    pub fn stop(&self) {
        let _ = self.sender.0.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn run_delivery_loop(incoming: &Receiver<Message>, log_queue: &Arc<LogQueue>) {
    while let Ok(first) = incoming.recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        // Take everything that is ready, so that each loop wakes once.
        while let Some(Message::Deliver(loop_future, event)) = next {
            batch.push((loop_future, event));
            next = if batch.len() < MAX_BATCH { incoming.try_recv().ok() } else { None };
        }
        if !batch.is_empty() {
            // The caller expects the records of a call before the call returns.
            log_queue.flush(FLUSH_TIMEOUT);
            with_python(|py| deliver_batch(py, batch));
        }
        match next {
            Some(Message::StartLogThread) => with_python(|py| log_queue.start_thread(py)),
            Some(Message::Stop) => return,
            Some(Message::Deliver(..)) | None => {}
        }
    }
}

fn with_python(act: impl FnOnce(Python<'_>) -> PyResult<()>) {
    gil_gate::attach(|py| {
        if let Err(error) = act(py) {
            error.write_unraisable(py, None);
        }
    });
}

fn deliver_batch(py: Python<'_>, batch: Vec<(Arc<LoopFuture>, LoopEvent)>) -> PyResult<()> {
    let _inside = enter(py);
    let mut by_loop: Vec<(Py<PyAny>, Bound<'_, PyList>)> = Vec::new();
    for (loop_future, event) in batch {
        let item = to_settle_item(py, &loop_future, event)?;
        match by_loop.iter().find(|(known, _)| known.is(&loop_future.event_loop)) {
            Some((_, items)) => items.append(item)?,
            None => by_loop.push((loop_future.event_loop.clone_ref(py), PyList::new(py, [item])?)),
        }
    }
    let settle_futures = settle_futures_function(py)?;
    for (event_loop, items) in by_loop {
        // A closed loop refuses the call; nothing in it awaits any more.
        let _ = event_loop.call_method1(py, "call_soon_threadsafe", (settle_futures, items));
    }
    Ok(())
}

/// Makes the item that `settle_futures` takes: the future, what to do, and the arguments.
///
/// "update": `Context.run`, the callback and the action. "value": the value. "error": the
/// exception.
fn to_settle_item<'py>(
    py: Python<'py>,
    loop_future: &LoopFuture,
    event: LoopEvent,
) -> PyResult<Bound<'py, PyTuple>> {
    let future = loop_future.future.bind(py);
    let ended = |what, value: Py<PyAny>| (future, what, value).into_pyobject(py);
    match event {
        LoopEvent::Update(callback, action) => match (*action).into_python(py) {
            Ok(action) => (future, "update", &callback.run_in_context, &callback.callable, action)
                .into_pyobject(py),
            Err(error) => ended("error", error.into_value(py).into_any()),
        },
        LoopEvent::Done(outcome) => match outcome(py) {
            Ok(value) => ended("value", value),
            Err(error) => ended("error", error.into_value(py).into_any()),
        },
    }
}

fn settle_futures_function(py: Python<'_>) -> PyResult<&Py<PyCFunction>> {
    static FUNCTION: PyOnceLock<Py<PyCFunction>> = PyOnceLock::new();
    FUNCTION.get_or_try_init(py, || Ok(pyo3::wrap_pyfunction!(settle_futures, py)?.unbind()))
}

/// Set the results of a batch of futures. Runs in the thread of their event loop.
#[pyfunction]
fn settle_futures(py: Python<'_>, items: Vec<Bound<'_, PyTuple>>) -> PyResult<()> {
    let _inside = enter(py);
    for item in items {
        let future = item.get_item(0)?;
        // A cancelled future is done before its task ends.
        if future.call_method0("done")?.is_truthy()? {
            continue;
        }
        let (what, with): (String, _) = (item.get_item(1)?.extract()?, item.get_item(2)?);
        let settled = match what.as_str() {
            "value" => future.call_method1("set_result", (with,)).map(drop),
            "error" => set_exception(&future, PyErr::from_value(with)),
            _ => gil_gate::call_python(&with, item.get_slice(3, item.len()))
                .map(drop)
                .or_else(|error| set_exception(&future, error)),
        };
        // Continue: an exception here would leave the rest of the batch waiting for ever.
        if let Err(error) = settled {
            error.write_unraisable(future.py(), Some(&future));
        }
    }
    Ok(())
}

/// Sets a future's exception. A future refuses StopIteration: that is wrapped in a
/// RuntimeError, as a generator does it.
fn set_exception(future: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let py = future.py();
    let _inside = enter(py);
    if future.call_method1("set_exception", (&error,)).is_err() {
        let wrapper =
            PyRuntimeError::new_err("the call raised an exception that a future cannot hold");
        wrapper.set_cause(py, Some(error));
        future.call_method1("set_exception", (wrapper,))?;
    }
    Ok(())
}
