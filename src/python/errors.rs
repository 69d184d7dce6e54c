//! The core's error as a Python exception, and a Python exception on its way through the core.

use std::fmt;
use std::sync::Arc;

use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

use crate::error::{Error, Kind};
use crate::python::client::session::Session;
use crate::session::{SessionResult, Sessions};

/// What the caller's own code raised. It comes out again as it went in.
struct CallerException(PyErr);

impl fmt::Debug for CallerException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallerException")
    }
}

impl fmt::Display for CallerException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller's own code raised an exception")
    }
}

impl std::error::Error for CallerException {}

/// Takes an exception of the caller's own through the core.
pub fn from_pyerr(error: PyErr) -> Error {
    Error::new(Kind::Caller, "the caller's own code raised an exception")
        .with_source(CallerException(error))
        .not_retryable()
}

pub fn to_pyerr(py: Python<'_>, error: Error) -> PyErr {
    to_pyerr_with_sessions(py, error, None)
}

/// The exception for `error`; a session that lives on is given along where `sessions` can make a handle on it.
pub fn to_pyerr_with_sessions(
    py: Python<'_>,
    error: Error,
    sessions: Option<&Arc<Sessions>>,
) -> PyErr {
    build(py, &error, sessions).unwrap_or_else(|broken| broken)
}

fn build(py: Python<'_>, error: &Error, sessions: Option<&Arc<Sessions>>) -> PyResult<PyErr> {
    let source = error.source.as_deref();
    if let Some(CallerException(original)) =
        source.and_then(|source| source.downcast_ref::<CallerException>())
    {
        return Ok(original.clone_ref(py));
    }
    let exception = match exception_class_name(error.kind) {
        Some(name) => {
            let class = exception_class(py, name)?;
            let attributes = error_attributes(py, error, sessions)?;
            PyErr::from_value(class.call((&error.message,), Some(&attributes))?)
        }
        None if error.kind == Kind::Io => os_error(error),
        None => PyRuntimeError::new_err(error.message.clone()),
    };
    if let Some(cause) = source.and_then(|source| source.downcast_ref::<Error>()) {
        exception.set_cause(py, Some(build(py, cause, None)?));
    }
    Ok(exception)
}

/// The exception for a session that was not ok. It holds the result.
pub fn session_failed_error(result: &Bound<'_, PyAny>, session: &SessionResult) -> PyResult<PyErr> {
    let py = result.py();
    let attributes = PyDict::new(py);
    attributes.set_item("result", result)?;
    attributes.set_item("action_id", &session.action.id)?;
    attributes.set_item("machine_id", &session.action.machine_id)?;
    attributes.set_item("hint", "what was done before the failure is in the error's `result`")?;
    Ok(PyErr::from_value(
        exception_class(py, "SessionFailedError")?.call((&session.message,), Some(&attributes))?,
    ))
}

/// The exception for an error that is told of rather than raised.
pub fn to_exception_object(py: Python<'_>, error: &Error) -> Py<PyAny> {
    to_pyerr(py, error.clone()).into_value(py).into_any()
}

fn os_error(error: &Error) -> PyErr {
    match (error.os_error, &error.path) {
        (Some(number), Some(path)) => {
            PyOSError::new_err((number, error.message.clone(), path.clone()))
        }
        _ => PyOSError::new_err(error.message.clone()),
    }
}

fn exception_class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
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
    attributes.set_item("code", &error.code)?;
    attributes.set_item("status_code", error.status)?;
    attributes.set_item("request_id", &error.request_id)?;
    attributes.set_item("tenant_id", &error.tenant_id)?;
    attributes.set_item("action_id", &error.action_id)?;
    attributes.set_item("machine_id", &error.machine_id)?;
    attributes.set_item("correlation_id", &error.correlation_id)?;
    attributes.set_item("retryable", error.retryable)?;
    attributes.set_item("hint", &error.hint)?;
    match error.kind {
        Kind::AmbiguousMachine => attributes.set_item(
            "machines",
            crate::python::models::candidate_machines(py, &error.candidates)?,
        )?,
        Kind::MachineBusy => attributes.set_item("active_action_id", &error.active_action_id)?,
        Kind::Throttled => attributes.set_item("retry_after", error.retry_after)?,
        Kind::WaitTimeout => {
            attributes.set_item("session", session_handle(py, error, sessions)?)?
        }
        _ => {}
    }
    Ok(attributes)
}

fn session_handle(
    py: Python<'_>,
    error: &Error,
    sessions: Option<&Arc<Sessions>>,
) -> PyResult<Option<Py<Session>>> {
    let (Some(action_id), Some(sessions)) = (&error.action_id, sessions) else { return Ok(None) };
    let mut session = sessions.session(action_id);
    session.machine_id.clone_from(&error.machine_id);
    session.correlation_id.clone_from(&error.correlation_id);
    Py::new(py, Session::new(session)).map(Some)
}
