//! One call of the core, before anybody has decided how to wait for it.

use std::future::Future;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pyo3::prelude::*;

use crate::error::Result;
use crate::session::UpdateSink;

/// What a call came to, to be made a Python object once the GIL is held.
pub type Output = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Py<PyAny>> + Send>;

type Start = Box<dyn FnOnce(Option<UpdateSink>) -> BoxFuture<'static, Result<Output>> + Send>;

/// A value of the core that has a Python form.
pub trait IntoPython: Send + 'static {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// A call, not yet started.
pub struct Call {
    pub start: Start,
    /// Called where the wait is, with each machine action seen on the way.
    pub on_update: Option<Py<PyAny>>,
}

impl Call {
    pub fn new<T: IntoPython>(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Self::with_updates(None, move |_| future)
    }

    pub fn with_updates<T, F>(
        on_update: Option<Py<PyAny>>,
        start: impl FnOnce(Option<UpdateSink>) -> F + Send + 'static,
    ) -> Self
    where
        T: IntoPython,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let start = move |sink: Option<UpdateSink>| {
            let future = start(sink);
            async move {
                let value = future.await?;
                Ok(Box::new(move |py: Python<'_>| value.into_python(py)) as Output)
            }
            .boxed()
        };
        Self { start: Box::new(start), on_update }
    }
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
        let items = self.into_iter().map(|item| item.into_python(py)).collect::<PyResult<Vec<_>>>()?;
        Ok(items.into_pyobject(py)?.unbind())
    }
}
