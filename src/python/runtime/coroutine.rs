//! The asynchronous door: a coroutine that starts its call when it is first awaited, and drops it when it is cancelled.

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyRuntimeWarning};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::{PyTraverseError, PyVisit};
use tokio::task::AbortHandle;

use super::core_task::CoreTask;
use super::delivery::{LoopEvent, LoopFuture, UpdateCallback};
use super::lifecycle::{ProcessLocal, with_python_in_drop};
use super::process_runtime;
use crate::model::MachineAction;
use crate::python::logging;
use crate::python::logging::spans as tracing;
use crate::trace;

enum State {
    /// In a mutex: a call may be sent to another thread, but not shared.
    Created(Mutex<ProcessLocal<CoreTask>>),
    Running {
        inner: Py<PyAny>,
        task: ProcessLocal<AbortHandle>,
    },
    Finished,
}

/// What a `..._async` method returns. `asyncio.iscoroutine` holds for it, as for one made by `async def`.
#[pyclass(module = "mde_live_response._native", name = "coroutine", weakref)]
pub struct Coroutine {
    name: &'static str,
    state: State,
}

impl Coroutine {
    pub fn new(name: &'static str, call: CoreTask) -> Self {
        Self { name, state: State::Created(Mutex::new(ProcessLocal::new(call))) }
    }

    fn begin(&mut self, py: Python<'_>, call: CoreTask) -> PyResult<()> {
        let event_loop = running_loop(py)?;
        let future = event_loop.call_method0("create_future")?;
        let inner = future.call_method0("__await__")?.unbind();
        logging::sync_level(py)?;
        let process = process_runtime::get_or_start(py)?;
        let loop_future =
            Arc::new(LoopFuture { event_loop: event_loop.unbind(), future: future.unbind() });
        let sender = process.delivery.sender();
        let CoreTask { start, on_update } = call;
        let callback = on_update.map(|call| UpdateCallback::new(py, call)).transpose()?;
        let sink = callback.map(|callback| {
            let (sender, loop_future, callback) =
                (sender.clone(), loop_future.clone(), Arc::new(callback));
            Arc::new(move |action: &MachineAction| {
                sender.send(
                    loop_future.clone(),
                    LoopEvent::Update(callback.clone(), Box::new(action.clone())),
                );
            }) as _
        });
        let call = trace::with_trace(tracing::current_trace(py)?, start(sink));
        let task = process
            .handle()
            .spawn(async move { sender.send(loop_future, LoopEvent::Done(call.await)) });
        self.state = State::Running { inner, task: ProcessLocal::new(task.abort_handle()) };
        Ok(())
    }

    /// Ends the call; an end of the coroutine by whatever way comes through here.
    fn finish(&mut self) {
        if let State::Running { task, .. } = std::mem::replace(&mut self.state, State::Finished)
            && let Some(task) = task.get()
        {
            task.abort();
        }
    }

    fn step<'py>(
        &mut self,
        py: Python<'py>,
        inner: &Py<PyAny>,
        step: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        step(inner.bind(py)).inspect_err(|_| self.finish())
    }
}

fn running_loop(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0()
}

fn forked_error() -> PyErr {
    PyRuntimeError::new_err(
        "this coroutine was made before the fork: make it in the process that awaits it",
    )
}

fn already_awaited_error() -> PyErr {
    PyRuntimeError::new_err("cannot reuse already awaited coroutine")
}

#[pymethods]
impl Coroutine {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let none = py.None().into_bound(py);
        self.send(py, none)
    }

    fn send<'py>(
        &mut self,
        py: Python<'py>,
        value: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let State::Created(_) = &self.state {
            let State::Created(call) = std::mem::replace(&mut self.state, State::Finished) else {
                return Err(already_awaited_error());
            };
            let call = call.into_inner().unwrap_or_else(PoisonError::into_inner).into_inner();
            self.begin(py, call.ok_or_else(forked_error)?)?;
        }
        let State::Running { inner, .. } = &self.state else { return Err(already_awaited_error()) };
        let inner = inner.clone_ref(py);
        self.step(py, &inner, |inner| inner.call_method1("send", (value,)))
    }

    #[pyo3(signature = (typ, val=None, tb=None))]
    fn throw<'py>(
        &mut self,
        py: Python<'py>,
        typ: Bound<'py, PyAny>,
        val: Option<Bound<'py, PyAny>>,
        tb: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match &self.state {
            State::Running { inner, .. } => {
                let inner = inner.clone_ref(py);
                self.step(py, &inner, |inner| match (val, tb) {
                    (None, None) => inner.call_method1("throw", (typ,)),
                    (val, tb) => inner.call_method1("throw", (typ, val, tb)),
                })
            }
            State::Created(_) => {
                self.state = State::Finished;
                let raised = if typ.is_callable() { typ.call0()? } else { typ };
                Err(PyErr::from_value(raised))
            }
            State::Finished => Err(already_awaited_error()),
        }
    }

    fn close(&mut self) {
        self.finish();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.state {
            State::Running { inner, .. } => visit.call(inner),
            State::Created(call) => match call.try_lock() {
                Ok(call) => visit.call(call.get().and_then(|call| call.on_update.as_ref())),
                Err(_) => Ok(()),
            },
            State::Finished => Ok(()),
        }
    }

    fn __clear__(&mut self) {
        self.finish();
    }

    #[getter]
    fn __name__(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    #[getter]
    fn __qualname__(&self) -> &'static str {
        self.name
    }

    #[getter]
    fn cr_running(&self) -> bool {
        false
    }

    fn __repr__(&self) -> String {
        format!("<coroutine object {}>", self.name)
    }
}

impl Drop for Coroutine {
    fn drop(&mut self) {
        if !matches!(self.state, State::Created(_)) {
            return self.finish();
        }
        let message = CString::new(format!("coroutine '{}' was never awaited", self.name))
            .unwrap_or_default();
        with_python_in_drop(|py| PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 1));
    }
}
