//! `Session`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::python::arguments::{Seconds, download_target};
use crate::python::client::config::ForkSafeClient;
use crate::python::files::stream::FileStream;
use crate::python::models::MachineAction;
use crate::python::operations::operations;
use crate::python::runtime::{CoreTask, IntoPython, ProcessLocal};
use crate::session;

/// A live response session that the service has accepted. Leaving it, by timeout or Ctrl-C, never cancels it.
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct Session {
    client: ForkSafeClient,
    session: ProcessLocal<session::Session>,
    /// A forked child's own handle.
    in_child: Mutex<Option<ProcessLocal<session::Session>>>,
    id: String,
    machine_id: Option<String>,
    correlation_id: Option<String>,
    adopted: bool,
}

impl Session {
    pub fn new(session: session::Session) -> Self {
        Self {
            client: ForkSafeClient::new(session.sessions().clone()),
            id: session.id.clone(),
            machine_id: session.machine_id.clone(),
            correlation_id: session.correlation_id.clone(),
            adopted: session.adopted,
            session: ProcessLocal::new(session),
            in_child: Mutex::new(None),
        }
    }

    /// The core's handle; a forked child's own, which has not seen the action yet.
    fn core_session(&self, py: Python<'_>) -> PyResult<session::Session> {
        if let Some(session) = self.session.get() {
            return Ok(session.clone());
        }
        let mut in_child = self.in_child.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = in_child.as_ref().and_then(ProcessLocal::get) {
            return Ok(session.clone());
        }
        let mut session = self.client.sessions(py)?.session(&self.id);
        session.machine_id.clone_from(&self.machine_id);
        session.correlation_id.clone_from(&self.correlation_id);
        *in_child = Some(ProcessLocal::new(session.clone()));
        Ok(session)
    }

    fn make_task<T: IntoPython, F>(
        &self,
        py: Python<'_>,
        start: impl FnOnce(session::Session) -> F,
    ) -> PyResult<CoreTask>
    where
        F: Future<Output = crate::error::Result<T>> + Send + 'static,
    {
        let session = self.core_session(py)?;
        Ok(CoreTask::new(&session.sessions().clone(), start(session)))
    }
}

impl IntoPython for session::Session {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Session::new(self))?.into_any())
    }
}

operations! {
    Session;

    operations {
        /// Look once how the session stands, without waiting for its end.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     max_age: seconds; a look as young as this, also one of another session's or process's, will do.
        ///
        /// Raises:
        ///     NotFoundError: the service does not list it.
        ///     ThrottledError: the line is longer than the client's `max_wait`.
        refresh / refresh_async (*, max_age=0.0) [max_age: f64]
            |this, py| this.make_task(py, move |session| async move { session.refresh(max_age).await });

        /// Wait until the session has ended.
        ///
        /// All open sessions of a process share one call to the service.
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     timeout: seconds; None: no bound.
        ///
        /// Returns:
        ///     The action in its final state.
        ///
        /// Raises:
        ///     WaitTimeoutError: `timeout` is over; the session lives on.
        ///     NotFoundError: the service does not list it.
        wait / wait_async (timeout=None) [timeout: Option<Seconds>]
            |this, py| this.make_task(py, move |session| async move {
                session.wait(timeout.map(|timeout| timeout.0), None, None).await
            });

        /// Wait until the session has ended, and fetch its results.
        ///
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     timeout: seconds for the wait; None: no bound.
        ///     save_to: a folder for collected files; they come to `<machine name>_<action id>/<index>_<name>` in it. None:
        ///         they stay at the service, for `Session.download`.
        ///
        /// Returns:
        ///     What the session left, ok or not. A result that could not be fetched or saved is its command's `error`.
        ///
        /// Raises:
        ///     WaitTimeoutError: `timeout` is over; the session lives on.
        ///     NotFoundError: the service does not list it.
        result / result_async (timeout=None, *, save_to=None) [timeout: Option<Seconds>, save_to: Option<PathBuf>]
            |this, py| this.make_task(py, move |session| async move {
                session.result(timeout.map(|timeout| timeout.0), save_to.as_deref()).await
            });

        /// Cancel the session. One that is over already is returned as it is.
        ///
        /// Cancelling takes its time, and may lose to completion: `wait()` tells which it was.
        /// Its page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        /// Permission: Machine.LiveResponse.
        ///
        /// Args:
        ///     comment: why; it is kept with the action.
        ///
        /// Raises:
        ///     NotFoundError: the service does not list it.
        ///     ThrottledError: the line is longer than the client's `max_wait`.
        cancel / cancel_async (comment) [comment: String]
            |this, py| this.make_task(py, move |session| async move { session.cancel(&comment).await });

        /// Fetch the file that one GetFile command collected.
        ///
        /// A gzip is unpacked on the way, to 4 GiB at most. A connection that breaks off is gone on with where it did.
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     index: the command's place in the sequence, from 0.
        ///     to: the path to write; a folder that is there, in which the file comes to `<index>_<name>`; or a file object
        ///         open for writing bytes. Under a path the file appears once it is whole and on the disk.
        ///
        /// Raises:
        ///     InvalidRequestError: there is no GetFile at this place.
        ///     DownloadError: it could not be fetched, or is damaged, or unpacks to more than is sane.
        ///     OSError: it could not be written.
        download / download_async (index, to) [index: u32, to: Bound<'_, PyAny>]
            |this, py| download_target(&to, index).and_then(|target| {
                this.make_task(py, move |session| async move { session.download(index, target).await })
            });
    }

    methods {
        /// Give the file that one GetFile command collected piece by piece, to loop over: `for`, or `async for`.
        ///
        /// Nothing is asked for before the loop begins. What the loop has not taken yet is not fetched, but for a little.
        /// Its page: learn.microsoft.com/defender-endpoint/api/get-live-response-result
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     index: the command's place in the sequence, from 0.
        ///
        /// Returns:
        ///     An iterator of bytes; its `file` tells size and SHA-256 once the loop has come to its end.
        fn stream(&self, py: Python<'_>, index: u32) -> PyResult<FileStream> {
            Ok(FileStream::new(&self.core_session(py)?, index))
        }

        /// The machine action's id: all that is needed to take the session up again, from any process.
        #[getter]
        fn id(&self) -> &str {
            &self.id
        }

        /// The machine's id, once it is known.
        #[getter]
        fn machine_id(&self) -> Option<&str> {
            self.machine_id.as_deref()
        }

        /// The id it was submitted with; None where it was taken up by its action id.
        #[getter]
        fn correlation_id(&self) -> Option<&str> {
            self.correlation_id.as_deref()
        }

        /// It was found again, not started by this call.
        #[getter]
        fn adopted(&self) -> bool {
            self.adopted
        }

        /// The action as last seen; `refresh()` looks.
        #[getter]
        fn action(&self, py: Python<'_>) -> PyResult<Option<MachineAction>> {
            Ok(self.core_session(py)?.action().map(MachineAction::from))
        }

        fn __reduce__(&self) -> PyResult<()> {
            Err(PyTypeError::new_err(
                "a Session is not pickled: it holds a client; pickle its `id`, and take it up again by client.session(id)",
            ))
        }

        fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
            let status = self.core_session(py)?.action().map_or_else(|| "not seen yet".to_owned(), |action| action.status);
            Ok(format!("<Session {}: {status}>", self.id))
        }
    }
}
