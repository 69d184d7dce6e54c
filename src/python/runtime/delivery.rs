//! One thread that hands finished calls to their event loops, each loop woken once per batch.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyList, PyTuple};

use super::blocking::LOG_PATIENCE;
use super::call::Ended;
use super::gate;
use super::mailbox::Mailbox;
use crate::model::MachineAction;
use crate::python::models::action_to_python;

const LARGEST_BATCH: usize = 256;

/// Where a call's value is awaited.
pub struct Address {
    pub event_loop: Py<PyAny>,
    pub future: Py<PyAny>,
}

/// What is handed over: an action seen on the way, for the caller's callback, or the end.
pub enum Parcel {
    Update(Arc<Callback>, Box<MachineAction>),
    Done(Ended),
}

/// What is told of each action, in the context of who awaits.
pub struct Callback {
    run_in_context: Py<PyAny>,
    call: Py<PyAny>,
}

impl Callback {
    pub fn new(py: Python<'_>, call: Py<PyAny>) -> PyResult<Self> {
        let context = py.import("contextvars")?.call_method0("copy_context")?;
        Ok(Self { run_in_context: context.getattr("run")?.unbind(), call })
    }
}

enum Message {
    Deliver(Arc<Address>, Parcel),
    /// Records wait for a thread that takes them to `logging`.
    Log,
    Stop,
}

/// The thread. It ends when it is told to.
pub struct Delivery {
    outbox: Outbox,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The way to the thread, for a call that is under way.
#[derive(Clone)]
pub struct Outbox(Sender<Message>);

impl Outbox {
    pub fn send(&self, address: Arc<Address>, parcel: Parcel) {
        // Once the thread has ended, the interpreter is ending too, and nobody awaits.
        let _ = self.0.send(Message::Deliver(address, parcel));
    }
}

impl Delivery {
    /// Starts the thread, which also starts the one of the mailbox that comes with it.
    pub fn start() -> PyResult<(Self, Arc<Mailbox>)> {
        let (messages, incoming) = channel();
        let outbox = Outbox(messages);
        let mailbox = {
            let outbox = outbox.clone();
            Arc::new(Mailbox::new(move || {
                let _ = outbox.0.send(Message::Log);
            }))
        };
        let logged = mailbox.clone();
        let thread = std::thread::Builder::new()
            .name("mde-live-response-delivery".to_owned())
            .spawn(move || deliver_all(&incoming, &logged))
            .map_err(|error| PyRuntimeError::new_err(format!("could not start a thread: {error}")))?;
        Ok((Self { outbox, thread: Mutex::new(Some(thread)) }, mailbox))
    }

    pub fn outbox(&self) -> Outbox {
        self.outbox.clone()
    }

    /// Delivers what has come, then ends the thread. The GIL must not be held.
    pub fn stop(&self) {
        let _ = self.outbox.0.send(Message::Stop);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

fn deliver_all(incoming: &Receiver<Message>, mailbox: &Arc<Mailbox>) {
    while let Ok(first) = incoming.recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(Message::Deliver(address, parcel)) = next {
            batch.push((address, parcel));
            next = if batch.len() < LARGEST_BATCH { incoming.try_recv().ok() } else { None };
        }
        if !batch.is_empty() {
            mailbox.flush(LOG_PATIENCE);
            attached(|py| hand_over(py, batch));
        }
        match next {
            Some(Message::Log) => attached(|py| mailbox.start_thread(py)),
            Some(Message::Stop) => return,
            Some(Message::Deliver(..)) | None => {}
        }
    }
}

fn attached(act: impl FnOnce(Python<'_>) -> PyResult<()>) {
    Python::attach(|py| {
        if let Err(error) = act(py) {
            error.write_unraisable(py, None);
        }
    });
}

fn hand_over(py: Python<'_>, batch: Vec<(Arc<Address>, Parcel)>) -> PyResult<()> {
    let mut by_loop: Vec<(Py<PyAny>, Bound<'_, PyList>)> = Vec::new();
    for (address, parcel) in batch {
        let item = unpack(py, &address, parcel)?;
        match by_loop.iter().find(|(known, _)| known.is(&address.event_loop)) {
            Some((_, items)) => items.append(item)?,
            None => by_loop.push((address.event_loop.clone_ref(py), PyList::new(py, [item])?)),
        }
    }
    let arrive = arrival(py)?;
    for (event_loop, items) in by_loop {
        // A loop that was closed meanwhile refuses, and nobody in it awaits any more.
        let _ = event_loop.call_method1(py, "call_soon_threadsafe", (arrive, items));
    }
    Ok(())
}

/// What `arrive` takes of each future: the future, then what it is to do, then what with: for an update how to call the
/// callback, the callback and the action, for an end the value or the exception.
fn unpack<'py>(py: Python<'py>, address: &Address, parcel: Parcel) -> PyResult<Bound<'py, PyTuple>> {
    let future = address.future.bind(py);
    let ended = |what, value: Py<PyAny>| (future, what, value).into_pyobject(py);
    match parcel {
        Parcel::Update(callback, action) => match action_to_python(py, *action) {
            Ok(action) => (future, "update", &callback.run_in_context, &callback.call, action).into_pyobject(py),
            Err(error) => ended("error", error.into_value(py).into_any()),
        },
        Parcel::Done(outcome) => match outcome(py) {
            Ok(value) => ended("value", value),
            Err(error) => ended("error", error.into_value(py).into_any()),
        },
    }
}

fn arrival(py: Python<'_>) -> PyResult<&Py<PyCFunction>> {
    static ARRIVE: PyOnceLock<Py<PyCFunction>> = PyOnceLock::new();
    ARRIVE.get_or_try_init(py, || Ok(pyo3::wrap_pyfunction!(arrive, py)?.unbind()))
}

/// Settles the futures of one batch, on their loop's own thread.
#[pyfunction]
fn arrive(items: Vec<Bound<'_, PyTuple>>) -> PyResult<()> {
    for item in items {
        let future = item.get_item(0)?;
        if future.call_method0("done")?.is_truthy()? {
            continue;
        }
        let (what, with): (String, _) = (item.get_item(1)?.extract()?, item.get_item(2)?);
        let settled = match what.as_str() {
            "value" => future.call_method1("set_result", (with,)).map(drop),
            "error" => fail(&future, PyErr::from_value(with)),
            _ => gate::call(&with, item.get_slice(3, item.len())).map(drop).or_else(|error| fail(&future, error)),
        };
        // The others of the batch are not to wait for ever.
        if let Err(error) = settled {
            error.write_unraisable(future.py(), Some(&future));
        }
    }
    Ok(())
}

/// Ends the wait with `error`; StopIteration, which a future refuses, within a RuntimeError, as a generator does it.
fn fail(future: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let py = future.py();
    if future.call_method1("set_exception", (&error,)).is_err() {
        let told = PyRuntimeError::new_err("the call raised what no future can hold");
        told.set_cause(py, Some(error));
        future.call_method1("set_exception", (told,))?;
    }
    Ok(())
}
