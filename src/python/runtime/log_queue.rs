//! Log records and spans on their way from the core's threads to `logging` and OpenTelemetry.
//!
//! A worker never calls a handler: one may wait for a lock that the caller of the very call holds, and would hold up every
//! other call meanwhile. Records wait here for a thread of Python's, which also may be stuck in a handler when the
//! interpreter ends, as one with Rust frames may not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyTuple};

use super::gil_gate;
use crate::trace::{AttributeValue, Attributes, SpanEnd, SpanStart};

/// What a function of `_log_delivery` is called with.
pub enum LogItem {
    /// Logger, level as Python counts it, message, file, line.
    Record((String, u8, String, String, u32)),
    /// A span's beginning, below what is current where the call was made.
    SpanStart(Arc<Py<PyAny>>, SpanStart),
    SpanEnd(SpanEnd),
}

/// Beyond it, a handler has been stuck for long, and the oldest records are lost.
const MAX_QUEUED: usize = 10_000;

#[derive(Default)]
struct LogQueueState {
    queued: VecDeque<LogItem>,
    /// Given to the thread and not known to be handled.
    in_flight: usize,
    handled: u64,
    /// What was handled when somebody waited in vain: nobody waits again before there is more.
    stuck_at: Option<u64>,
    has_thread: bool,
    closed: bool,
}

impl<'py> IntoPyObject<'py> for LogItem {
    type Target = PyTuple;
    type Output = Bound<'py, PyTuple>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self {
            Self::Record(record) => ("log", record).into_pyobject(py),
            Self::SpanStart(context, span) => {
                let SpanStart { id, parent, name, is_request, attributes, at } = span;
                let context = context.clone_ref(py);
                ("open", (id, parent, name, is_request, dict(py, attributes)?, at, context))
                    .into_pyobject(py)
            }
            Self::SpanEnd(SpanEnd { id, attributes, error, at }) => {
                ("close", (id, dict(py, attributes)?, error, at)).into_pyobject(py)
            }
        }
    }
}

fn dict(py: Python<'_>, attributes: Attributes) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in attributes {
        match value {
            AttributeValue::Text(text) => dict.set_item(name, text)?,
            AttributeValue::Number(number) => dict.set_item(name, number)?,
        }
    }
    Ok(dict)
}

pub struct LogQueue {
    /// Asks for the thread.
    request_thread: Box<dyn Fn() + Send + Sync>,
    state: Mutex<LogQueueState>,
    item_added: Condvar,
    items_handled: Condvar,
}

thread_local! {
    static THREAD_QUEUE: RefCell<Option<Arc<LogQueue>>> = const { RefCell::new(None) };
}

/// What is logged on this thread from here on goes to `log_queue`.
pub fn set_thread_queue(log_queue: Arc<LogQueue>) {
    THREAD_QUEUE.with(|slot| *slot.borrow_mut() = Some(log_queue));
}

/// Queues an item from one of the core's threads; other threads have no log.
pub fn enqueue_log(item: LogItem) {
    // Err while the thread ends.
    let log_queue = THREAD_QUEUE.try_with(|slot| slot.borrow().clone()).ok().flatten();
    if let Some(log_queue) = log_queue {
        log_queue.push(item);
    }
}

impl LogQueue {
    /// `request_thread` is called when there is a first record, and has [`LogQueue::start_thread`] called where the GIL can be taken.
    pub fn new(request_thread: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            request_thread: Box::new(request_thread),
            state: Mutex::default(),
            item_added: Condvar::new(),
            items_handled: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, LogQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, item: LogItem) {
        let mut state = self.state();
        if state.queued.len() >= MAX_QUEUED {
            state.queued.pop_front();
        }
        state.queued.push_back(item);
        let first = !std::mem::replace(&mut state.has_thread, true);
        drop(state);
        if first {
            (self.request_thread)();
        }
        self.item_added.notify_one();
    }

    /// Starts the thread. It ends with the log_queue.
    pub fn start_thread(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let log_queue = self.clone();
        let take = PyCFunction::new_closure(
            py,
            None,
            None,
            move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                gil_gate::detach(arguments.py(), || log_queue.take())
            },
        )?;
        let started = py
            .import("mde_live_response._log_delivery")
            .and_then(|log| log.call_method1("start", (take,)));
        if started.is_err() {
            self.state().has_thread = false;
        }
        started.map(drop)
    }

    /// The next records, once there are some, those taken before being handled; empty when there will be none.
    fn take(&self) -> Vec<LogItem> {
        let mut state = self.state();
        state.handled += state.in_flight as u64;
        state.in_flight = 0;
        self.items_handled.notify_all();
        while state.queued.is_empty() && !state.closed {
            state = self.item_added.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_flight = state.queued.len();
        state.queued.drain(..).collect()
    }

    /// Waits until what was logged before is handled, so that it is there when a call returns. Not for long, and not at all
    /// for a handler that is stuck: it may wait for the caller. The GIL must not be held.
    pub fn flush(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut state = self.state();
        if !state.has_thread {
            return;
        }
        let goal = state.handled + (state.in_flight + state.queued.len()) as u64;
        while state.handled < goal && state.stuck_at != Some(state.handled) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.stuck_at = Some(state.handled);
                return;
            }
            (state, _) = self
                .items_handled
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// At the end: what no thread was ever started for.
    pub fn take_remaining(&self) -> Vec<LogItem> {
        let mut state = self.state();
        if state.has_thread { Vec::new() } else { state.queued.drain(..).collect() }
    }

    /// No more records.
    pub fn close(&self) {
        self.state().closed = true;
        self.item_added.notify_all();
    }
}
