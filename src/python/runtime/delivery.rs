//! One thread that hands finished calls to their event loops, each loop woken once per batch.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyCFunction, PyList};

use super::call::Ended;
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
    Update(Arc<Py<PyAny>>, Box<MachineAction>),
    Done(Ended),
}

enum Message {
    Deliver(Arc<Address>, Parcel),
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
    pub fn start() -> PyResult<Self> {
        let (messages, incoming) = channel();
        let thread = std::thread::Builder::new()
            .name("mde-live-response-delivery".to_owned())
            .spawn(move || deliver_all(&incoming))
            .map_err(|error| PyRuntimeError::new_err(format!("could not start a thread: {error}")))?;
        Ok(Self { outbox: Outbox(messages), thread: Mutex::new(Some(thread)) })
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

fn deliver_all(incoming: &Receiver<Message>) {
    while let Ok(Message::Deliver(address, parcel)) = incoming.recv() {
        let mut batch = vec![(address, parcel)];
        let mut stopping = false;
        while batch.len() < LARGEST_BATCH {
            match incoming.try_recv() {
                Ok(Message::Deliver(address, parcel)) => batch.push((address, parcel)),
                Ok(Message::Stop) => {
                    stopping = true;
                    break;
                }
                Err(_) => break,
            }
        }
        Python::attach(|py| {
            if let Err(error) = hand_over(py, batch) {
                error.write_unraisable(py, None);
            }
        });
        if stopping {
            return;
        }
    }
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

/// What `arrive` takes of each future: the future, then a callback and its argument, or a value and none, or none and an exception.
fn unpack<'py>(py: Python<'py>, address: &Address, parcel: Parcel) -> PyResult<Bound<'py, PyAny>> {
    let future = address.future.clone_ref(py);
    let item = match parcel {
        Parcel::Update(callback, action) => (future, "update", callback.clone_ref(py), action_to_python(py, *action)?),
        Parcel::Done(ended) => match ended(py) {
            Ok(value) => (future, "value", value, py.None()),
            Err(error) => (future, "error", error.into_value(py).into_any(), py.None()),
        },
    };
    Ok(item.into_pyobject(py)?.into_any())
}

fn arrival(py: Python<'_>) -> PyResult<&Py<PyCFunction>> {
    static ARRIVE: PyOnceLock<Py<PyCFunction>> = PyOnceLock::new();
    ARRIVE.get_or_try_init(py, || Ok(pyo3::wrap_pyfunction!(arrive, py)?.unbind()))
}

type Item<'py> = (Bound<'py, PyAny>, String, Bound<'py, PyAny>, Bound<'py, PyAny>);

/// Settles the futures of one batch, on their loop's own thread.
#[pyfunction]
fn arrive(items: Vec<Item<'_>>) -> PyResult<()> {
    for (future, what, first, second) in items {
        if future.call_method0("done")?.is_truthy()? {
            continue;
        }
        match what.as_str() {
            "value" => future.call_method1("set_result", (first,))?,
            "error" => future.call_method1("set_exception", (first,))?,
            _ => match first.call1((second,)) {
                Ok(ignored) => ignored,
                Err(error) => future.call_method1("set_exception", (error,))?,
            },
        };
    }
    Ok(())
}
