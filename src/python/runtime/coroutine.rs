//! Asynchronous calls: a coroutine starts its task when it is first awaited, and aborts it when
//! it is cancelled.

use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::{PyAttributeError, PyRuntimeError, PyRuntimeWarning};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::{PyTraverseError, PyVisit};
use tokio::task::AbortHandle;

use super::core_task::CoreTask;
use super::delivery::{LoopCallback, LoopEvent, LoopFuture};
use super::process_local::ProcessLocal;
use super::process_runtime;
use crate::model::MachineAction;
use crate::python::gil_gate::{enter, with_python_in_drop};
use crate::python::logging::{spans, sync_level};
use crate::trace;

enum CoroutineState {
    /// In a mutex, because a task is Send but not Sync, and a Python class must be both.
    Created(Mutex<ProcessLocal<CoreTask>>),
    Running {
        inner: Py<PyAny>,
        task: ProcessLocal<AbortHandle>,
    },
    Finished,
}

/// The awaitable that a `..._async` method returns. `asyncio.iscoroutine` is true for it.
#[pyclass(module = "mde_live_response._native", name = "coroutine", weakref)]
pub struct Coroutine {
    name: &'static str,
    state: CoroutineState,
}

impl Coroutine {
    pub fn new(name: &'static str, core_task: CoreTask) -> Self {
        Self { name, state: CoroutineState::Created(Mutex::new(ProcessLocal::new(core_task))) }
    }

    fn begin(&mut self, py: Python<'_>, core_task: CoreTask) -> PyResult<()> {
        let _inside = enter(py);
        // This comes first: without a running loop, nothing must be sent.
        let event_loop = running_loop(py)?;
        let future = event_loop.call_method0("create_future")?;
        let inner = future.call_method0("__await__")?.unbind();
        sync_level(py)?;
        let process = process_runtime::get_or_start(py)?;
        let loop_future =
            Arc::new(LoopFuture { event_loop: event_loop.unbind(), future: future.unbind() });
        let sender = process.delivery.sender();
        let CoreTask { start, on_update } = core_task;
        let callback = on_update.map(|callable| LoopCallback::new(py, callable)).transpose()?;
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
        let future = trace::with_trace(spans::current_trace(py)?, start(sink));
        let task = process
            .handle()
            .spawn(async move { sender.send(loop_future, LoopEvent::Done(future.await)) });
        self.state =
            CoroutineState::Running { inner, task: ProcessLocal::new(task.abort_handle()) };
        Ok(())
    }

    /// Aborts the task if it runs. This is called however the coroutine ends: value, exception,
    /// cancel or drop.
    fn finish(&mut self) {
        if let CoroutineState::Running { task, .. } =
            std::mem::replace(&mut self.state, CoroutineState::Finished)
            // In a forked child there is no such task to abort.
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
    let _inside = enter(py);
    static GET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    GET.import(py, "asyncio", "get_running_loop")?.call0().map_err(|error| {
        let needed = PyRuntimeError::new_err(
            "no running event loop: the ..._async methods need asyncio. Under trio, call the \
             blocking method in a thread: trio.to_thread.run_sync(client.run, ...)",
        );
        needed.set_cause(py, Some(error));
        needed
    })
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

    /// Only for names that do not exist: the caller uses the coroutine as its result.
    fn __getattr__(slf: &Bound<'_, Self>, name: &str) -> PyResult<()> {
        // While it runs, it is borrowed.
        let call = slf.try_borrow().map_or("a call", |it| it.name);
        Err(PyAttributeError::new_err(format!(
            "the coroutine of {call} has no attribute '{name}'. Hint: write `await` before the call"
        )))
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
        let _inside = enter(py);
        if let CoroutineState::Created(_) = &self.state {
            let CoroutineState::Created(call) =
                std::mem::replace(&mut self.state, CoroutineState::Finished)
            else {
                return Err(already_awaited_error());
            };
            let call = call.into_inner().unwrap_or_else(PoisonError::into_inner).into_inner();
            self.begin(py, call.ok_or_else(forked_error)?)?;
        }
        let CoroutineState::Running { inner, .. } = &self.state else {
            return Err(already_awaited_error());
        };
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
        let _inside = enter(py);
        match &self.state {
            CoroutineState::Running { inner, .. } => {
                let inner = inner.clone_ref(py);
                self.step(py, &inner, |inner| match (val, tb) {
                    (None, None) => inner.call_method1("throw", (typ,)),
                    (val, tb) => inner.call_method1("throw", (typ, val, tb)),
                })
            }
            CoroutineState::Created(_) => {
                self.state = CoroutineState::Finished;
                // `throw` accepts a class as well as an instance.
                let raised = if typ.is_callable() { typ.call0()? } else { typ };
                Err(PyErr::from_value(raised))
            }
            CoroutineState::Finished => Err(already_awaited_error()),
        }
    }

    fn close(&mut self) {
        self.finish();
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.state {
            CoroutineState::Running { inner, .. } => visit.call(inner),
            CoroutineState::Created(call) => match call.try_lock() {
                Ok(call) => visit.call(call.get().and_then(|call| call.on_update.as_ref())),
                Err(_) => Ok(()),
            },
            CoroutineState::Finished => Ok(()),
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
        if !matches!(self.state, CoroutineState::Created(_)) {
            return with_python_in_drop(|_| {
                self.finish();
                Ok(())
            });
        }
        let message = CString::new(format!("coroutine '{}' was never awaited", self.name))
            .unwrap_or_default();
        with_python_in_drop(|py| PyErr::warn(py, &py.get_type::<PyRuntimeWarning>(), &message, 1));
    }
}
