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

use super::gate;
use crate::trace::{Attributes, Closed, Opened, Value};

/// What a function of `_letters` is called with.
pub enum Letter {
    /// Logger, level as Python counts it, message, file, line.
    Record((String, u8, String, String, u32)),
    /// A span's beginning, below what is current where the call was made.
    Opened(Arc<Py<PyAny>>, Opened),
    Closed(Closed),
}

/// Beyond it, a handler has been stuck for long, and the oldest records are lost.
const LARGEST: usize = 10_000;

#[derive(Default)]
struct Letters {
    waiting: VecDeque<Letter>,
    /// Given to the thread and not known to be handled.
    out: usize,
    handled: u64,
    /// What was handled when somebody waited in vain: nobody waits again before there is more.
    stuck_at: Option<u64>,
    has_thread: bool,
    closed: bool,
}

impl<'py> IntoPyObject<'py> for Letter {
    type Target = PyTuple;
    type Output = Bound<'py, PyTuple>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Self::Output> {
        match self {
            Self::Record(record) => ("log", record).into_pyobject(py),
            Self::Opened(context, span) => {
                let Opened { id, parent, name, is_request, attributes, at } = span;
                let context = context.clone_ref(py);
                ("open", (id, parent, name, is_request, dict(py, attributes)?, at, context)).into_pyobject(py)
            }
            Self::Closed(Closed { id, attributes, error, at }) => {
                ("close", (id, dict(py, attributes)?, error, at)).into_pyobject(py)
            }
        }
    }
}

fn dict(py: Python<'_>, attributes: Attributes) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in attributes {
        match value {
            Value::Text(text) => dict.set_item(name, text)?,
            Value::Number(number) => dict.set_item(name, number)?,
        }
    }
    Ok(dict)
}

pub struct Mailbox {
    /// Asks for the thread.
    ask: Box<dyn Fn() + Send + Sync>,
    letters: Mutex<Letters>,
    came: Condvar,
    went: Condvar,
}

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<Mailbox>>> = const { RefCell::new(None) };
}

/// What is logged on this thread from here on goes to `mailbox`.
pub fn adopt(mailbox: Arc<Mailbox>) {
    OF_THREAD.with(|mine| *mine.borrow_mut() = Some(mailbox));
}

/// Posts a letter from one of the core's threads; other threads have no log.
pub fn post(letter: Letter) {
    // Err while the thread ends.
    let mailbox = OF_THREAD.try_with(|mine| mine.borrow().clone()).ok().flatten();
    if let Some(mailbox) = mailbox {
        mailbox.put(letter);
    }
}

impl Mailbox {
    /// `ask` is called when there is a first record, and has [`Mailbox::start_thread`] called where the GIL can be taken.
    pub fn new(ask: impl Fn() + Send + Sync + 'static) -> Self {
        Self { ask: Box::new(ask), letters: Mutex::default(), came: Condvar::new(), went: Condvar::new() }
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, letter: Letter) {
        let mut letters = self.letters();
        if letters.waiting.len() >= LARGEST {
            letters.waiting.pop_front();
        }
        letters.waiting.push_back(letter);
        let first = !std::mem::replace(&mut letters.has_thread, true);
        drop(letters);
        if first {
            (self.ask)();
        }
        self.came.notify_one();
    }

    /// Starts the thread. It ends with the mailbox.
    pub fn start_thread(self: &Arc<Self>, py: Python<'_>) -> PyResult<()> {
        let mailbox = self.clone();
        let take = PyCFunction::new_closure(
            py,
            None,
            None,
            move |arguments: &Bound<'_, PyTuple>, _: Option<&Bound<'_, PyDict>>| {
                gate::detached(arguments.py(), || mailbox.take())
            },
        )?;
        let started = py.import("mde_live_response._letters").and_then(|log| log.call_method1("start", (take,)));
        if started.is_err() {
            self.letters().has_thread = false;
        }
        started.map(drop)
    }

    /// The next records, once there are some, those taken before being handled; empty when there will be none.
    fn take(&self) -> Vec<Letter> {
        let mut letters = self.letters();
        letters.handled += letters.out as u64;
        letters.out = 0;
        self.went.notify_all();
        while letters.waiting.is_empty() && !letters.closed {
            letters = self.came.wait(letters).unwrap_or_else(PoisonError::into_inner);
        }
        letters.out = letters.waiting.len();
        letters.waiting.drain(..).collect()
    }

    /// Waits until what was logged before is handled, so that it is there when a call returns. Not for long, and not at all
    /// for a handler that is stuck: it may wait for the caller. The GIL must not be held.
    pub fn flush(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut letters = self.letters();
        if !letters.has_thread {
            return;
        }
        let goal = letters.handled + (letters.out + letters.waiting.len()) as u64;
        while letters.handled < goal && letters.stuck_at != Some(letters.handled) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                letters.stuck_at = Some(letters.handled);
                return;
            }
            (letters, _) = self.went.wait_timeout(letters, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// At the end: what no thread was ever started for.
    pub fn leftover(&self) -> Vec<Letter> {
        let mut letters = self.letters();
        if letters.has_thread { Vec::new() } else { letters.waiting.drain(..).collect() }
    }

    /// No more records.
    pub fn close(&self) {
        self.letters().closed = true;
        self.came.notify_all();
    }
}
