//! `CoreTask`: a call of the core that has not been started.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pyo3::prelude::*;

use crate::error::Result;
use crate::python::convert::IntoPython;
use crate::python::errors::to_pyerr;
use crate::session::{Sessions, UpdateCallback};

/// The outcome of a task. Called with the GIL held, it returns the object or raises the
/// exception.
pub type Completion = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Py<PyAny>> + Send>;

type Start = Box<dyn FnOnce(Option<UpdateCallback>) -> BoxFuture<'static, Completion> + Send>;

/// A call of the core that has not been started, so that the caller can block or await it.
pub struct CoreTask {
    pub start: Start,
    /// Called in the waiting thread or event loop with each status of the machine action.
    pub on_update: Option<Py<PyAny>>,
}

impl CoreTask {
    pub fn new<T: IntoPython>(
        sessions: &Arc<Sessions>,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self::with_updates(sessions, None, move |_| future)
    }

    /// A task whose errors need no `Session`.
    pub fn without_client<T: IntoPython>(
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self::with_conversion(async move { to_completion(future.await, None) })
    }

    /// A task that returns `value` and does nothing else.
    pub fn ready(value: Py<PyAny>) -> Self {
        let completion = Box::new(move |_: Python<'_>| Ok(value)) as Completion;
        Self::with_conversion(std::future::ready(completion))
    }

    /// A task that makes its own Python object or exception.
    pub fn with_conversion(future: impl Future<Output = Completion> + Send + 'static) -> Self {
        Self { start: Box::new(move |_| future.boxed()), on_update: None }
    }

    pub fn with_updates<T, F>(
        sessions: &Arc<Sessions>,
        on_update: Option<Py<PyAny>>,
        start: impl FnOnce(Option<UpdateCallback>) -> F + Send + 'static,
    ) -> Self
    where
        T: IntoPython,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let sessions = sessions.clone();
        let start = move |sink: Option<UpdateCallback>| {
            let future = start(sink);
            async move { to_completion(future.await, Some(sessions)) }.boxed()
        };
        Self { start: Box::new(start), on_update }
    }
}

fn to_completion<T: IntoPython>(result: Result<T>, sessions: Option<Arc<Sessions>>) -> Completion {
    Box::new(move |py: Python<'_>| match result {
        Ok(value) => value.into_python(py),
        Err(error) => Err(to_pyerr(py, error, sessions.as_ref())),
    })
}
