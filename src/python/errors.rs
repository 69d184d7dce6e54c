//! Conversion between the core's error and Python exceptions.

use std::fmt;
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use crate::error::{Error, Kind};
use crate::model;
use crate::python::convert::IntoPython;
use crate::python::gil_gate::enter;
use crate::session::{SessionResult, Sessions};
use crate::text::printable;

/// An exception that the caller's own code raised. It leaves the core as the same object.
struct CallerException(PyErr);

impl fmt::Debug for CallerException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerException")
    }
}

impl fmt::Display for CallerException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller's code raised an exception")
    }
}

impl std::error::Error for CallerException {}

/// Wraps an exception of the caller's code, so that the core can return it.
pub fn from_pyerr(error: PyErr) -> Error {
    Error::new(Kind::Caller, "the caller's code raised an exception")
        .with_source(CallerException(error))
        .not_retryable()
}

/// Lets `?` convert an error of the core to an exception. Use it with the GIL held.
impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| to_pyerr(py, error, None))
    }
}

/// Returns the exception for `error`. With `sessions`, a WaitTimeoutError gets its `session`.
pub fn to_pyerr(py: Python<'_>, error: Error, sessions: Option<&Arc<Sessions>>) -> PyErr {
    build(py, &error, sessions).unwrap_or_else(|broken| broken)
}

/// Returns the error of a call that comes too late. The first call of this must not.
pub fn exited_error(py: Python<'_>) -> PyErr {
    // The interpreter clears the modules while it exits.
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let _inside = enter(py);
    let message = "no call can start: the interpreter has run its exit handlers";
    let attributes = PyDict::new(py);
    let hint = "make the call before or in an exit handler (atexit), not in a __del__ after it";
    CLASS
        .get_or_try_init(py, || exception_class(py, "LiveResponseError").map(Bound::unbind))
        .and_then(|class| {
            attributes.set_item("hint", hint)?;
            class.bind(py).call((message,), Some(&attributes))
        })
        .map_or_else(|_| PyRuntimeError::new_err(message), PyErr::from_value)
}

/// Returns the exception object for an error that is an attribute and is not raised.
pub fn to_exception_object(py: Python<'_>, error: &Error) -> Py<PyAny> {
    to_pyerr(py, error.clone(), None).into_value(py).into_any()
}

/// Returns the SessionFailedError for a session that was not ok. It holds the result.
pub fn session_failed_error(result: &Bound<'_, PyAny>, session: &SessionResult) -> PyResult<PyErr> {
    let py = result.py();
    let _inside = enter(py);
    let attributes = PyDict::new(py);
    attributes.set_item("result", result)?;
    attributes.set_item("action_id", &session.action.id)?;
    attributes.set_item("machine_id", &session.action.machine_id)?;
    attributes.set_item("tenant_id", &session.tenant_id)?;
    attributes.set_item("correlation_id", &session.correlation_id)?;
    attributes.set_item("hint", "the error's `result` has everything done before the failure")?;
    let class = exception_class(py, "SessionFailedError")?;
    let message = printable(&session.message);
    Ok(PyErr::from_value(class.call((message.as_ref(),), Some(&attributes))?))
}

fn build(py: Python<'_>, error: &Error, sessions: Option<&Arc<Sessions>>) -> PyResult<PyErr> {
    let _inside = enter(py);
    let source = error.source.as_deref();
    // The caller gets the same exception object that its code raised.
    if let Some(CallerException(original)) =
        source.and_then(|source| source.downcast_ref::<CallerException>())
    {
        return Ok(original.clone_ref(py));
    }
    let exception = match exception_class_name(error.kind) {
        Some(name) => {
            let class = exception_class(py, name)?;
            let attributes = error_attributes(py, error, sessions)?;
            let message = printable(&error.message);
            PyErr::from_value(class.call((message.as_ref(),), Some(&attributes))?)
        }
        None if error.kind == Kind::Io => os_error(error),
        None => PyRuntimeError::new_err(printable(&error.message).into_owned()),
    };
    // Python shows it as the direct cause.
    if let Some(cause) = source.and_then(|source| source.downcast_ref::<Error>()) {
        exception.set_cause(py, Some(build(py, cause, None)?));
    }
    Ok(exception)
}

fn os_error(error: &Error) -> PyErr {
    match (error.os_error, &error.path) {
        // With an errno, Python picks the subclass, such as FileNotFoundError.
        (Some(number), Some(path)) => {
            // Python appends the path to the message.
            let message = error.message.replacen(&format!(" {path}: "), ": ", 1);
            PyOSError::new_err((number, message, path.clone()))
        }
        (Some(number), None) => PyOSError::new_err((number, error.message.clone())),
        (None, _) => PyOSError::new_err(error.message.clone()),
    }
}

fn exception_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    let _inside = enter(py);
    // The classes are written in Python, where users read and subclass them.
    Ok(py.import("mde_live_response.errors")?.getattr(name)?.cast_into()?)
}

fn exception_class_name(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::InvalidRequest => "InvalidRequestError",
        Kind::AmbiguousMachine => "AmbiguousMachineError",
        Kind::AlreadyExists => "AlreadyExistsError",
        Kind::Authentication => "AuthenticationError",
        Kind::PermissionDenied => "PermissionDeniedError",
        Kind::NotFound => "NotFoundError",
        Kind::MachineBusy => "MachineBusyError",
        Kind::Throttled => "ThrottledError",
        Kind::Service => "ServiceError",
        Kind::ConnectionFailed => "ConnectionFailedError",
        Kind::SubmitUnknown => "SubmitUnknownError",
        Kind::SessionFailed => "SessionFailedError",
        Kind::WaitTimeout => "WaitTimeoutError",
        Kind::Download => "DownloadError",
        Kind::State => "StateError",
        Kind::Io | Kind::Caller => return None,
    })
}

fn error_attributes<'py>(
    py: Python<'py>,
    error: &Error,
    sessions: Option<&Arc<Sessions>>,
) -> PyResult<Bound<'py, PyDict>> {
    let attributes = PyDict::new(py);
    attributes.set_item("code", error.code.as_deref().map(printable))?;
    attributes.set_item("status_code", error.status)?;
    attributes.set_item("request_id", error.request_id.as_deref().map(printable))?;
    attributes.set_item("tenant_id", &error.tenant_id)?;
    attributes.set_item("action_id", &error.action_id)?;
    attributes.set_item("machine_id", &error.machine_id)?;
    attributes.set_item("correlation_id", &error.correlation_id)?;
    attributes.set_item("retryable", error.retryable)?;
    attributes.set_item("hint", error.hint.as_deref().map(printable))?;
    match error.kind {
        Kind::AmbiguousMachine => attributes.set_item("machines", candidates(py, error)?)?,
        Kind::MachineBusy => attributes.set_item("active_action_id", &error.active_action_id)?,
        Kind::Throttled => attributes.set_item("retry_after", error.retry_after)?,
        Kind::WaitTimeout => {
            attributes.set_item("session", session_handle(py, error, sessions)?)?
        }
        _ => {}
    }
    Ok(attributes)
}

/// Returns the machines that an ambiguous name matched.
fn candidates<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyTuple>> {
    let decode = |raw: &serde_json::Value| {
        model::decode_entity::<model::Machine>(raw.to_string().as_bytes()).ok()
    };
    let machines: Vec<_> = error
        .candidates
        .iter()
        .filter_map(decode)
        .map(|machine| machine.into_python(py))
        .collect::<PyResult<_>>()?;
    PyTuple::new(py, machines)
}

fn session_handle(
    py: Python<'_>,
    error: &Error,
    sessions: Option<&Arc<Sessions>>,
) -> PyResult<Option<Py<PyAny>>> {
    let (Some(action_id), Some(sessions)) = (&error.action_id, sessions) else { return Ok(None) };
    let mut session = sessions.session(action_id);
    session.machine_id.clone_from(&error.machine_id);
    session.correlation_id.clone_from(&error.correlation_id);
    session.into_python(py).map(Some)
}
