//! `Session`.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::python::arguments::{CommandIndex, named};
use crate::python::callers_object::FreedInside;
use crate::python::client::config::ForkSafeClient;
use crate::python::convert::IntoPython;
use crate::python::files::arguments::{DownloadTo, save_target};
use crate::python::files::stream::FileStream;
use crate::python::models::MachineAction;
use crate::python::models::json_ready::{JsonReady, json_dict};
use crate::python::notebook::to_html;
use crate::python::operations::operations;
use crate::python::paths::PathArgument;
use crate::python::runtime::{CoreTask, ForkSafe};
use crate::python::seconds::{Seconds, check_wait_seconds};
use crate::session;
use crate::text::printable;

/// An accepted live response session. A timeout or Ctrl-C ends the wait, but does not cancel the
/// session.
#[pyclass(frozen, module = "mde_live_response", weakref)]
pub struct Session {
    client: FreedInside<ForkSafeClient>,
    session: FreedInside<ForkSafe<session::Session>>,
    id: String,
    machine_id: Option<String>,
    correlation_id: Option<String>,
    adopted: bool,
}

impl Session {
    pub fn new(session: session::Session) -> Self {
        Self {
            client: FreedInside::new(ForkSafeClient::new(session.sessions().clone())),
            id: session.id.clone(),
            machine_id: session.machine_id.clone(),
            correlation_id: session.correlation_id.clone(),
            adopted: session.adopted,
            session: FreedInside::new(ForkSafe::new(session)),
        }
    }

    /// Returns the core's session. That of a forked child does not have the last known status.
    fn core_session(&self, py: Python<'_>) -> PyResult<session::Session> {
        self.session.get_or_remake(|| {
            let mut session = self.client.sessions(py)?.session(&self.id);
            session.machine_id.clone_from(&self.machine_id);
            session.correlation_id.clone_from(&self.correlation_id);
            Ok(session)
        })
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

json_dict! { session::Session, |session| {
    "id": session.id,
    "machine_id": session.known_machine_id(),
    "correlation_id": session.known_correlation_id(),
    "adopted": session.adopted,
    "action": session.action(),
} }

impl IntoPython for session::Session {
    fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Session::new(self))?.into_any())
    }
}

operations! {
    Session;

    operations {
        /// Fetch the status once, without waiting for the end.
        ///
        /// The service's page:
        /// learn.microsoft.com/defender-endpoint/api/get-machineaction-object
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     max_age: seconds or a timedelta, 0 or more. Accept a status that any client of
        ///         the state store fetched within that time. If there is none, one request
        ///         fetches those of all open sessions. Default 0: fetch only this one, now.
        ///
        /// Returns:
        ///     The action with its current status.
        ///
        /// Raises:
        ///     NotFoundError: the service does not list the session.
        ///     ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        refresh / refresh_async (*, max_age=0.0)
            [max_age: f64]
            |this, py| {
                let max_age = check_wait_seconds("max_age", max_age)?;
                this.make_task(py, move |session| async move { session.refresh(max_age).await })
            };

        /// Wait until the session has ended.
        ///
        /// All open sessions of a process share one request to the service.
        /// The service's page:
        /// learn.microsoft.com/defender-endpoint/api/get-machineactions-collection
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     timeout: seconds or a timedelta, 0 or more. None waits without limit.
        ///
        /// Returns:
        ///     The action in its final state.
        ///
        /// Raises:
        ///     WaitTimeoutError: `timeout` passed. The session continues.
        ///     NotFoundError: the service does not list the session.
        wait / wait_async (timeout=None) [timeout: Option<Seconds>]
            |this, py| this.make_task(py, move |session| async move {
                session.wait(timeout.map(|timeout| timeout.0), None, None).await
            });

        /// Wait until the session has ended, and fetch its results.
        ///
        /// The service's page:
        /// learn.microsoft.com/defender-endpoint/api/get-live-response-result
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     timeout: seconds or a timedelta for the wait, 0 or more. None waits without
        ///         limit.
        ///     save_to: a folder for collected files. They are saved as
        ///         `<machine name>_<action id>/<index>_<name>`. None leaves them at the
        ///         service, for `Session.download`. `manifest.jsonl` in the folder lists them
        ///         with their SHA-256, for `mde_live_response.evidence`.
        ///     save_transcripts: also save the output of each script there, as the service
        ///         returned it. Default False.
        ///
        /// Returns:
        ///     The result, ok or not. If a command's result could not be fetched or saved, its
        ///     `error` says why.
        ///
        /// Raises:
        ///     InvalidRequestError: `save_transcripts` without `save_to`.
        ///     WaitTimeoutError: `timeout` passed. The session continues.
        ///     NotFoundError: the service does not list the session.
        result / result_async (timeout=None, *, save_to=None, save_transcripts=false)
            [timeout: Option<Seconds>, save_to: Option<PathArgument>, save_transcripts: bool]
            |this, py| {
                let save_to = save_target(save_to, save_transcripts)?;
                this.make_task(py, move |session| async move {
                    session.result(timeout.map(|it| it.0), save_to.as_ref()).await
                })
            };

        /// Cancel the session. A finished session is returned unchanged.
        ///
        /// Cancelling takes some time, and the session may complete first: `wait()` returns the
        /// final status.
        /// The service's page: learn.microsoft.com/defender-endpoint/api/cancel-machine-action
        /// Permission: Machine.LiveResponse.
        ///
        /// Args:
        ///     comment: the reason, stored with the action.
        ///
        /// Returns:
        ///     The action with its status after the request.
        ///
        /// Raises:
        ///     NotFoundError: the service does not list the session.
        ///     ThrottledError: the wait for the rate limit would exceed the client's `max_wait`.
        cancel / cancel_async (comment) [comment: String]
            |this, py| this.make_task(py, move |session| async move {
                session.cancel(&comment).await
            });

        /// Download the file that a GetFile command collected.
        ///
        /// A gzip is unpacked, up to 4 GiB. A broken connection is resumed where it broke.
        /// The service's page:
        /// learn.microsoft.com/defender-endpoint/api/get-live-response-result
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     command: the command's index in the session, from 0, or its CommandResult.
        ///     to: a path; an existing folder, where the file is saved as `<index>_<name>`; or
        ///         a file object open for writing bytes. A file appears at its path only when it
        ///         is complete and on disk.
        ///
        /// Returns:
        ///     The file's description.
        ///
        /// Raises:
        ///     InvalidRequestError: the command is not a GetFile of this session.
        ///     DownloadError: the file could not be fetched, is damaged, or is too large after
        ///         unpacking.
        ///     OSError: the file could not be written.
        download / download_async (command, to) [command: CommandIndex, to: DownloadTo]
            |this, py| {
                let target = to.into_target(command.0);
                this.make_task(py, move |session| async move {
                    session.download(command.0, target).await
                })
            };
    }

    methods {
        /// Return an iterator over the file that a GetFile command collected, for `for` or
        /// `async for`.
        ///
        /// The first request is sent when the loop starts. At most a small buffer is fetched
        /// ahead of the loop.
        /// The service's page:
        /// learn.microsoft.com/defender-endpoint/api/get-live-response-result
        /// Permission: Machine.Read.All or Machine.ReadWrite.All.
        ///
        /// Args:
        ///     command: the command's index in the session, from 0, or its CommandResult.
        ///
        /// Returns:
        ///     An iterator of bytes. Its `file` has size and SHA-256 once the loop has
        ///     finished.
        fn stream(
            &self,
            py: Python<'_>,
            #[pyo3(from_py_with = named::command)] command: CommandIndex,
        ) -> PyResult<FileStream> {
            Ok(FileStream::new(&self.core_session(py)?, command.0))
        }

        /// The machine action's id. `LiveResponseClient.session` accepts it in any process.
        #[getter]
        fn id(&self) -> &str {
            &self.id
        }

        /// The machine's id. None for a session made from its action id, until the action was
        /// fetched.
        #[getter]
        fn machine_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
            Ok(self.core_session(py)?.known_machine_id())
        }

        /// The correlation id that the session was submitted with. None for a session made from
        /// its action id, unless the state store had it as open when the action was fetched.
        #[getter]
        fn correlation_id(&self, py: Python<'_>) -> PyResult<Option<String>> {
            Ok(self.core_session(py)?.known_correlation_id())
        }

        /// Whether the session existed before this call.
        #[getter]
        fn adopted(&self) -> bool {
            self.adopted
        }

        /// The last known status. None if none was fetched; `refresh()` fetches it.
        #[getter]
        fn action(&self, py: Python<'_>) -> PyResult<Option<MachineAction>> {
            Ok(self.core_session(py)?.action().map(MachineAction::from))
        }

        /// The seconds until the next `refresh()` makes sense: 0.0 if the session has ended, or
        /// was not fetched; else 3 to 30, with its age. `wait()` and `result()` need no pause.
        #[getter]
        fn next_poll_in(&self, py: Python<'_>) -> PyResult<f64> {
            Ok(self.core_session(py)?.next_poll_in())
        }

        /// Return the attributes as a JSON-ready dict, without `next_poll_in`. Times are ISO 8601
        /// in UTC. `LiveResponseClient.session` accepts its `id` in any process.
        fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
            self.core_session(py)?.to_json_ready(py)
        }

        fn __reduce__(&self) -> PyResult<()> {
            let advice = "pickle its `id`, and call client.session(id)";
            Err(PyTypeError::new_err(format!("a Session is not pickled: it holds a client; {advice}")))
        }

        fn _repr_html_<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
            to_html(slf)
        }

        fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
            let action = self.core_session(py)?.action();
            let status = action.map_or_else(|| "not fetched yet".to_owned(), |it| it.status);
            Ok(printable(&format!("<Session {}: {status}>", self.id)).into())
        }
    }
}
