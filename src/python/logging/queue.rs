//! The queue of log records and spans from the core's threads to `logging` and OpenTelemetry.
//!
//! A worker thread never calls a handler. The handler might wait for a lock that the caller of
//! the same call holds, and would block every other call during that time. So the records go to a
//! Python thread. When the interpreter exits, a Python thread may be stuck in a handler. A thread
//! with Rust frames must not be.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyList, PyTuple};

use crate::python::gil_gate;
use crate::trace::{AttributeValue, Attributes, SpanEnd, SpanStart};

/// An item for `_log_delivery`.
pub enum LogItem {
    /// Logger, Python's level number, message, file, line.
    Record((String, u8, String, String, u32)),
    /// The start of a span, below the OpenTelemetry context of the caller.
    SpanStart(Arc<Py<PyAny>>, SpanStart),
    SpanEnd(SpanEnd),
}

/// A longer queue means that a handler is stuck: the oldest records are dropped.
const MAX_QUEUED: usize = 10_000;

/// How long a call waits for its log records to be handled.
pub const FLUSH_TIMEOUT: Duration = Duration::from_millis(50);

#[derive(Default)]
struct LogQueueState {
    queued: VecDeque<LogItem>,
    /// Items that the thread has taken and not yet handled.
    in_flight: usize,
    handled: u64,
    /// The value of `handled` when a flush timed out: no flush waits before it has changed.
    stuck_at: Option<u64>,
    has_thread: bool,
    /// Whether the interpreter is exiting: it starts no thread any more.
    exiting: bool,
    /// Whether it was reported that the system refuses the thread.
    refusal_reported: bool,
    /// Whether a fork is in progress: the thread takes nothing.
    paused: bool,
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
                ("open", (id, parent, name, is_request, to_dict(py, attributes)?, at, context))
                    .into_pyobject(py)
            }
            Self::SpanEnd(SpanEnd { id, attributes, error, at }) => {
                ("close", (id, to_dict(py, attributes)?, error, at)).into_pyobject(py)
            }
        }
    }
}

fn to_dict(py: Python<'_>, attributes: Attributes) -> PyResult<Bound<'_, PyDict>> {
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
    /// Asks the delivery thread to start the thread of this queue.
    request_thread: Box<dyn Fn() + Send + Sync>,
    state: Mutex<LogQueueState>,
    item_added: Condvar,
    items_handled: Condvar,
}

thread_local! {
    static THREAD_QUEUE: RefCell<Option<Arc<LogQueue>>> = const { RefCell::new(None) };
}

/// Sets the queue for everything that this thread logs from now on.
pub fn set_thread_queue(log_queue: Arc<LogQueue>) {
    THREAD_QUEUE.with(|slot| *slot.borrow_mut() = Some(log_queue));
}

/// Queues an item of this thread. Threads that are not the core's have no queue.
pub fn enqueue_log(item: LogItem) {
    // The thread-local is gone while the thread exits.
    let log_queue = THREAD_QUEUE.try_with(|slot| slot.borrow().clone()).ok().flatten();
    if let Some(log_queue) = log_queue {
        log_queue.push(item);
    }
}

impl LogQueue {
    /// `request_thread` is called for the first item. It has [`LogQueue::start_thread`] called
    /// in a thread that can take the GIL.
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
        let first = !state.exiting && !std::mem::replace(&mut state.has_thread, true);
        drop(state);
        // Outside the lock, which the new thread takes.
        if first {
            (self.request_thread)();
        }
        self.item_added.notify_one();
    }

    /// Starts the thread. It stops when the queue is closed.
    pub fn start_thread(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let _inside = gil_gate::enter(py);
        let log_queue = self.clone();
        let take = PyCFunction::new_closure(
            py,
            None,
            None,
            move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                let py = arguments.py();
                let _inside = gil_gate::enter(py);
                let items = gil_gate::detach(py, || log_queue.take());
                PyList::new(py, items).map(Bound::unbind)
            },
        )?;
        let started = py
            .import("mde_live_response._log_delivery")
            .and_then(|log| log.call_method1("start", (take,))?.extract::<bool>());
        if !matches!(started, Ok(true)) {
            let mut state = self.state();
            state.has_thread = false;
            state.exiting |= started.is_ok();
            // The records stay queued, and each further one asks for the thread again.
            if std::mem::replace(&mut state.refusal_reported, true) {
                return Ok(());
            }
        }
        started.map(drop)
    }

    /// Waits for items and returns them. Counts the items returned before as handled. An empty
    /// list means that the queue is closed.
    fn take(&self) -> Vec<LogItem> {
        let mut state = self.state();
        state.handled += state.in_flight as u64;
        state.in_flight = 0;
        self.items_handled.notify_all();
        while (state.queued.is_empty() || state.paused) && !state.closed {
            state = self.item_added.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_flight = state.queued.len();
        state.queued.drain(..).collect()
    }

    /// Waits until everything logged so far is handled, so that it is there when a call
    /// returns. Call it without the GIL.
    pub fn flush(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut state = self.state();
        if !state.has_thread {
            return;
        }
        let goal = state.handled + (state.in_flight + state.queued.len()) as u64;
        // A stuck handler may be waiting for the caller, so it is not waited for again.
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

    /// Keeps the thread from taking items, and waits until its handlers have returned: a forked
    /// child would inherit the locks that they hold. Call it without the GIL.
    pub fn pause(&self, timeout: Duration) {
        let mut state = self.state();
        state.paused = true;
        let stuck_at = state.stuck_at;
        let busy =
            |state: &mut LogQueueState| state.in_flight > 0 && stuck_at != Some(state.handled);
        let (mut state, waited) = self
            .items_handled
            .wait_timeout_while(state, timeout, busy)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            state.stuck_at = Some(state.handled);
        }
    }

    pub fn resume(&self) {
        self.state().paused = false;
        self.item_added.notify_all();
    }

    /// Returns the items for which no thread was started, at exit. Starts none from now on.
    pub fn take_remaining(&self) -> Vec<LogItem> {
        let mut state = self.state();
        state.exiting = true;
        if state.has_thread { Vec::new() } else { state.queued.drain(..).collect() }
    }

    /// Stops the thread once it has taken the remaining items.
    pub fn close(&self) {
        self.state().closed = true;
        self.item_added.notify_all();
    }
}
