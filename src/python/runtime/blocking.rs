//! The blocking door: wait with the GIL released, and answer Ctrl-C.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use super::core_task::{Completion, CoreTask};
use super::lifecycle::ProcessLocal;
use super::{gil_gate, process_runtime};
use crate::model::MachineAction;
use crate::python::logging;
use crate::python::logging::spans as tracing;
use crate::python::models::action_to_python;
use crate::trace;

/// How often the main thread looks for signals: twice within the 100 ms in which Ctrl-C is answered. Each look costs some
/// 50 us of a core.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(40);

/// How long a call waits for its log records to be handled.
pub(super) const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(50);

enum Event {
    Update(Box<MachineAction>),
    Done(Completion),
}

/// Runs `call` to its end. Ctrl-C and an exception of `on_update` drop it.
pub fn run_blocking(py: Python<'_>, call: CoreTask) -> PyResult<Py<PyAny>> {
    let (events, mut incoming) = channel();
    let updates = events.clone();
    let CoreTask { start, on_update } = call;
    let sink = on_update.as_ref().map(|_| {
        Arc::new(move |action: &MachineAction| {
            // Err when the waiter has left, who does not want to know.
            let _ = updates.send(Event::Update(Box::new(action.clone())));
        }) as _
    });
    logging::sync_level(py)?;
    let future = trace::with_trace(tracing::current_trace(py)?, start(sink));
    let process = process_runtime::get_or_start(py)?;
    let task = process.handle().spawn(async move {
        let _ = events.send(Event::Done(future.await));
    });
    let running = ProcessLocal::new(AbortOnDrop(task.abort_handle()));
    let on_main_thread = is_main_thread(py)?;
    loop {
        let event;
        (incoming, event) = gil_gate::detach(py, || {
            let (incoming, event) = next_event(incoming, on_main_thread);
            if matches!(event, Ok(Event::Done(_))) {
                process.log_queue().flush(LOG_FLUSH_TIMEOUT);
            }
            (incoming, event)
        });
        match event {
            Ok(Event::Done(completion)) => return completion(py),
            Ok(Event::Update(action)) => {
                if let Some(callback) = &on_update {
                    gil_gate::call_python(callback.bind(py), (action_to_python(py, *action)?,))?;
                }
                check_not_forked(&running)?;
            }
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals()?;
                check_not_forked(&running)?;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the call ended without an outcome: the process is shutting down, or this is a bug in mde_live_response",
                ));
            }
        }
    }
}

/// A callback or a signal's handler may have forked: what runs this call is not in the child.
fn check_not_forked(running: &ProcessLocal<AbortOnDrop>) -> PyResult<()> {
    match running.get() {
        Some(_) => Ok(()),
        None => Err(PyRuntimeError::new_err(
            "this call is the parent's: the process was forked in the middle of it",
        )),
    }
}

/// The next event; on the main thread, after a moment, the word to look for signals.
fn next_event(
    incoming: Receiver<Event>,
    on_main_thread: bool,
) -> (Receiver<Event>, Result<Event, RecvTimeoutError>) {
    let event = if on_main_thread {
        incoming.recv_timeout(SIGNAL_INTERVAL)
    } else {
        incoming.recv().map_err(|_| RecvTimeoutError::Disconnected)
    };
    (incoming, event)
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Signals are handled by the main thread alone. Where `threading` was never imported there is no other.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let modules = py.import("sys")?.getattr("modules")?;
    let threading = modules.call_method1("get", ("threading",))?;
    if threading.is_none() {
        return Ok(true);
    }
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    main.eq(threading.call_method0("get_ident")?)
}
