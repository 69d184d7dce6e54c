//! One call of the core, before anybody has decided how to wait for it.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pyo3::prelude::*;

use crate::error::Result;
use crate::python::errors::to_pyerr_with_sessions;
use crate::session::{Sessions, UpdateCallback};

/// What a call came to, to be made a Python object or an exception once the GIL is held.
pub type Completion = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Py<PyAny>> + Send>;

type Start = Box<dyn FnOnce(Option<UpdateCallback>) -> BoxFuture<'static, Completion> + Send>;

/// A value of the core that has a Python form.
pub trait IntoPython: Send + 'static {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// A call, not yet started.
pub struct CoreTask {
    pub start: Start,
    /// Called where the wait is, with each machine action seen on the way.
    pub on_update: Option<Py<PyAny>>,
}

impl CoreTask {
    pub fn new<T: IntoPython>(
        sessions: &Arc<Sessions>,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self::with_updates(sessions, None, move |_| future)
    }

    /// A call of no client.
    pub fn without_client<T: IntoPython>(
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Self {
        Self {
            start: Box::new(move |_| async move { to_completion(future.await, None) }.boxed()),
            on_update: None,
        }
    }

    /// A call that gives `value`, and does nothing for it.
    pub fn ready(value: Py<PyAny>) -> Self {
        let completion = Box::new(move |_: Python<'_>| Ok(value)) as Completion;
        Self { start: Box::new(move |_| std::future::ready(completion).boxed()), on_update: None }
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
            async move {
                let result = future.await;
                to_completion(result, Some(sessions))
            }
            .boxed()
        };
        Self { start: Box::new(start), on_update }
    }
}

fn to_completion<T: IntoPython>(result: Result<T>, sessions: Option<Arc<Sessions>>) -> Completion {
    Box::new(move |py: Python<'_>| match result {
        Ok(value) => value.into_python(py),
        Err(error) => Err(to_pyerr_with_sessions(py, error, sessions.as_ref())),
    })
}

impl IntoPython for () {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }
}

impl<T: IntoPython> IntoPython for Option<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.map_or_else(|| Ok(py.None()), |value| value.into_python(py))
    }
}

impl<T: IntoPython> IntoPython for Vec<T> {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let items =
            self.into_iter().map(|item| item.into_python(py)).collect::<PyResult<Vec<_>>>()?;
        Ok(items.into_pyobject(py)?.unbind())
    }
}
