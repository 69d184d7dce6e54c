//! Blocking calls: wait with the GIL released, and react to Ctrl-C.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use super::core_task::{Completion, CoreTask};
use super::process_local::{ProcessLocal, generation};
use super::process_runtime;
use crate::model::MachineAction;
use crate::python::convert::IntoPython;
use crate::python::gil_gate;
use crate::python::logging::queue::FLUSH_TIMEOUT;
use crate::python::logging::{spans, sync_level};
use crate::python::modules::imported_modules;
use crate::trace;

/// How often the main thread checks for signals: twice within the 100 ms in which it should
/// react to Ctrl-C. Each check costs about 50 us of a core.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(40);

enum WaitEvent {
    Update(Box<MachineAction>),
    Done(Completion),
}

/// Runs a task to its end. Ctrl-C and an exception from `on_update` abort it.
pub fn run_blocking(py: Python<'_>, core_task: CoreTask) -> PyResult<Py<PyAny>> {
    let _inside = gil_gate::enter(py);
    let (events, mut incoming) = channel();
    let updates = events.clone();
    let CoreTask { start, on_update } = core_task;
    let sink = on_update.as_ref().map(|_| {
        Arc::new(move |action: &MachineAction| {
            // The send fails if the thread no longer waits. Then nobody needs the update.
            let _ = updates.send(WaitEvent::Update(Box::new(action.clone())));
        }) as _
    });
    let process = process_runtime::get_or_start(py)?;
    sync_level(py)?;
    let future = trace::with_trace(spans::current_trace(py)?, start(sink));
    let task = process.handle().spawn(async move {
        // The send fails if the wait was interrupted: nobody needs the value.
        let _ = events.send(WaitEvent::Done(future.await));
    });
    // Dropped when this function returns early, which aborts the task.
    let running = ProcessLocal::new(AbortOnDrop(task.abort_handle()));
    let on_main_thread = is_main_thread(py)?;
    loop {
        let event;
        (incoming, event) = gil_gate::detach(py, || {
            let (incoming, event) = next_event(incoming, on_main_thread);
            // The caller expects the call's log records before the call returns.
            if matches!(event, Ok(WaitEvent::Done(_))) {
                process.log_queue().flush(FLUSH_TIMEOUT);
            }
            (incoming, event)
        });
        match event {
            Ok(WaitEvent::Done(completion)) => return completion(py),
            Ok(WaitEvent::Update(action)) => {
                if let Some(callback) = &on_update {
                    gil_gate::call_python(callback.bind(py), ((*action).into_python(py)?,))?;
                }
                check_not_forked(&running)?;
            }
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals()?;
                check_not_forked(&running)?;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err(
                    "the call ended without an outcome: the process is shutting down, or this is \
                     a bug in mde_live_response",
                ));
            }
        }
    }
}

/// Raises if a callback or a signal handler has forked: the child lacks the threads of this
/// call.
fn check_not_forked(running: &ProcessLocal<AbortOnDrop>) -> PyResult<()> {
    match running.get() {
        Some(_) => Ok(()),
        None => Err(PyRuntimeError::new_err(
            "this call belongs to the parent: the process was forked during it",
        )),
    }
}

/// Waits for the next event. On the main thread it times out when signals are to be checked.
fn next_event(
    incoming: Receiver<WaitEvent>,
    on_main_thread: bool,
) -> (Receiver<WaitEvent>, Result<WaitEvent, RecvTimeoutError>) {
    // Other threads need no timeout: they handle no signals.
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

/// Returns whether this is the main thread, the only one that handles signals.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    thread_local! {
        /// The answer, and the process for which it holds: a fork makes its thread the main one.
        static KNOWN: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
    }
    match KNOWN.get() {
        Some((process, is_main)) if process == generation() => Ok(is_main),
        _ => {
            let is_main = ask_is_main_thread(py)?;
            KNOWN.set(Some((generation(), is_main)));
            Ok(is_main)
        }
    }
}

fn ask_is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let _inside = gil_gate::enter(py);
    // Without `threading`, Python code has not started another thread.
    let Some(threading) = imported_modules(py)?.get_item(intern!(py, "threading"))? else {
        return Ok(true);
    };
    let get_ident = threading.getattr("get_ident")?;
    // gevent and eventlet return the id of a greenlet, and any greenlet may be in the main thread.
    // The check for signals does nothing in other threads.
    if !get_ident.is_instance_of::<PyCFunction>() {
        return Ok(true);
    }
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    main.eq(get_ident.call0()?)
}
