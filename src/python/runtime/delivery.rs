//! One thread that hands finished calls to their event loops, each loop woken once per batch.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyList, PyTuple};

use super::blocking::LOG_FLUSH_TIMEOUT;
use super::core_task::Completion;
use super::gil_gate;
use super::log_queue::LogQueue;
use crate::model::MachineAction;
use crate::python::models::action_to_python;

const MAX_BATCH: usize = 256;

/// Where a call's value is awaited.
pub struct LoopFuture {
    pub event_loop: Py<PyAny>,
    pub future: Py<PyAny>,
}

/// What is handed over: an action seen on the way, for the caller's callback, or the end.
pub enum LoopEvent {
    Update(Arc<UpdateCallback>, Box<MachineAction>),
    Done(Completion),
}

/// What is told of each action, in the context of who awaits.
pub struct UpdateCallback {
    run_in_context: Py<PyAny>,
    callable: Py<PyAny>,
}

impl UpdateCallback {
    pub fn new(py: Python<'_>, callable: Py<PyAny>) -> PyResult<Self> {
        let context = py.import("contextvars")?.call_method0("copy_context")?;
        Ok(Self { run_in_context: context.getattr("run")?.unbind(), callable })
    }
}

enum Message {
    Deliver(Arc<LoopFuture>, LoopEvent),
    /// Records wait for a thread that takes them to `logging`.
    StartLogThread,
    Stop,
}

/// The thread. It ends when it is told to.
pub struct DeliveryThread {
    sender: DeliverySender,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The way to the thread, for a call that is under way.
#[derive(Clone)]
pub struct DeliverySender(Sender<Message>);

impl DeliverySender {
    pub fn send(&self, loop_future: Arc<LoopFuture>, event: LoopEvent) {
        // Once the thread has ended, the interpreter is ending too, and nobody awaits.
        let _ = self.0.send(Message::Deliver(loop_future, event));
    }
}

impl DeliveryThread {
    /// Starts the thread, which also starts the one of the log_queue that comes with it.
    pub fn start() -> PyResult<(Self, Arc<LogQueue>)> {
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
            .map_err(|error| {
                PyRuntimeError::new_err(format!("could not start a thread: {error}"))
            })?;
        Ok((Self { sender, thread: Mutex::new(Some(thread)) }, log_queue))
    }

    pub fn sender(&self) -> DeliverySender {
        self.sender.clone()
    }

    /// Delivers what has come, then ends the thread. The GIL must not be held.
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
        while let Some(Message::Deliver(loop_future, event)) = next {
            batch.push((loop_future, event));
            next = if batch.len() < MAX_BATCH { incoming.try_recv().ok() } else { None };
        }
        if !batch.is_empty() {
            log_queue.flush(LOG_FLUSH_TIMEOUT);
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
    Python::attach(|py| {
        if let Err(error) = act(py) {
            error.write_unraisable(py, None);
        }
    });
}

fn deliver_batch(py: Python<'_>, batch: Vec<(Arc<LoopFuture>, LoopEvent)>) -> PyResult<()> {
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
        // A loop that was closed meanwhile refuses, and nobody in it awaits any more.
        let _ = event_loop.call_method1(py, "call_soon_threadsafe", (settle_futures, items));
    }
    Ok(())
}

/// What `settle_futures` takes of each future: the future, then what it is to do, then what with: for an update how to call the
/// callback, the callback and the action, for an end the value or the exception.
fn to_settle_item<'py>(
    py: Python<'py>,
    loop_future: &LoopFuture,
    event: LoopEvent,
) -> PyResult<Bound<'py, PyTuple>> {
    let future = loop_future.future.bind(py);
    let ended = |what, value: Py<PyAny>| (future, what, value).into_pyobject(py);
    match event {
        LoopEvent::Update(callback, action) => match action_to_python(py, *action) {
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

/// Settles the futures of one batch, on their loop's own thread.
#[pyfunction]
fn settle_futures(items: Vec<Bound<'_, PyTuple>>) -> PyResult<()> {
    for item in items {
        let future = item.get_item(0)?;
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
        // The others of the batch are not to wait for ever.
        if let Err(error) = settled {
            error.write_unraisable(future.py(), Some(&future));
        }
    }
    Ok(())
}

/// Ends the wait with `error`; StopIteration, which a future refuses, within a RuntimeError, as a generator does it.
fn set_exception(future: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let py = future.py();
    if future.call_method1("set_exception", (&error,)).is_err() {
        let wrapper = PyRuntimeError::new_err("the call raised what no future can hold");
        wrapper.set_cause(py, Some(error));
        future.call_method1("set_exception", (wrapper,))?;
    }
    Ok(())
}
