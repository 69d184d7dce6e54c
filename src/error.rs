//! The error type of the crate: what happened, to which machine or action, and what to do.

use std::borrow::Cow;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::text::printable;

/// The errno of "Cannot allocate memory" on Linux, macOS and Windows.
const ENOMEM: i32 = 12;

/// A result with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error. Each kind is one exception class of the Python package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    InvalidRequest,
    AmbiguousMachine,
    AlreadyExists,
    Authentication,
    PermissionDenied,
    NotFound,
    MachineBusy,
    Throttled,
    Service,
    ConnectionFailed,
    SubmitUnknown,
    SessionFailed,
    WaitTimeout,
    Download,
    State,
    /// A failure of the local disk: an `OSError` in Python.
    Io,
    /// Code of the caller raised, such as a credential; `source` is its exception.
    Caller,
}

/// The fields of an [`Error`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    pub kind: Kind,
    pub message: String,
    /// Error code of the service, such as `ActiveRequestAlreadyExists`.
    pub code: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Request id, for Microsoft support.
    pub request_id: Option<String>,
    pub tenant_id: Option<String>,
    pub action_id: Option<String>,
    pub machine_id: Option<String>,
    pub correlation_id: Option<String>,
    /// Whether the same call may succeed later, without running anything twice.
    pub retryable: bool,
    /// Seconds to wait before a retry.
    pub retry_after: Option<f64>,
    pub hint: Option<String>,
    /// MachineBusy: the id of the action that occupies the machine.
    pub active_action_id: Option<String>,
    /// AmbiguousMachine: the candidates as the service describes them.
    pub candidates: Vec<Value>,
    /// Io: the errno.
    pub os_error: Option<i32>,
    /// Io: the path.
    pub path: Option<String>,
    #[serde(skip)]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The error of the crate. Boxed, so that a `Result` stays small.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Details>);

impl Error {
    /// Creates an error; `kind` decides whether it is retryable.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let retryable = matches!(
            kind,
            Kind::MachineBusy
                | Kind::Throttled
                | Kind::Service
                | Kind::ConnectionFailed
                | Kind::SubmitUnknown
        );
        Self(Box::new(Details {
            kind,
            message: into_printable(message.into()),
            code: None,
            status: None,
            request_id: None,
            tenant_id: None,
            action_id: None,
            machine_id: None,
            correlation_id: None,
            retryable,
            retry_after: None,
            hint: None,
            active_action_id: None,
            candidates: Vec::new(),
            os_error: None,
            path: None,
            source: None,
        }))
    }

    /// Creates an error of kind `InvalidRequest`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequest, message)
    }

    /// Creates an error of kind `Io` with the message "could not {doing} {path}".
    pub fn io(doing: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        let reason = source.to_string();
        let reason = without_os_number(&reason);
        let mut error =
            Self::new(Kind::Io, format!("could not {doing} {}: {reason}", path.display()));
        error.os_error = source.raw_os_error();
        error.path = Some(path.display().to_string());
        error.with_source(source)
    }

    /// Creates an error of kind `Io`: the system refuses memory.
    pub fn no_memory() -> Self {
        let mut error = Self::new(
            Kind::Io,
            "mde_live_response cannot start: the system gives this process no more memory. Raise \
             its limit: ulimit -v, or the container's limit",
        );
        error.os_error = Some(ENOMEM);
        error
    }

    /// Creates an error of kind `Io`: the system refuses a thread.
    pub fn no_threads(threads: &str, source: std::io::Error) -> Self {
        let message = format!(
            "the system refuses to start the threads of {threads} ({source}): this process or its \
             user has as many threads as it may have. Raise that limit: ulimit -u, or the \
             container's limit of processes (pids)"
        );
        Self::new(Kind::Io, message).with_source(source)
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(into_printable(hint.into()));
        self
    }

    #[must_use]
    pub fn with_action(mut self, action_id: impl Into<String>) -> Self {
        self.action_id = Some(action_id.into());
        self
    }

    #[must_use]
    pub fn with_machine(mut self, machine_id: impl Into<String>) -> Self {
        self.machine_id = Some(machine_id.into());
        self
    }

    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// Returns whether the network failed or a rate limit was hit, here or in the source.
    pub fn is_network_or_throttled(&self) -> bool {
        // A submit of unknown outcome has the network error as its source.
        let cause = self.source.as_deref().and_then(|source| source.downcast_ref::<Self>());
        let is_transient = |kind: Kind| matches!(kind, Kind::ConnectionFailed | Kind::Throttled);
        is_transient(self.kind) || cause.is_some_and(|cause| is_transient(cause.kind))
    }
}

/// A message may quote text of the service or of the caller. It must not control a terminal.
/// Returns what the system says, without its number: Python and people know the number by its name.
pub fn without_os_number(reason: &str) -> &str {
    reason.split(" (os error").next().unwrap_or(reason)
}

fn into_printable(text: String) -> String {
    match printable(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => shown,
    }
}

impl Deref for Error {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn std::error::Error + 'static))
    }
}

/// Compares everything but `source`, which is neither stored nor pickled.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        let what = |it: &Details| (it.kind, it.code.clone(), it.status, it.retryable, it.os_error);
        let texts = |it: &Details| [it.hint.clone(), it.request_id.clone(), it.path.clone()];
        let ids = |it: &Details| {
            let ids = [&it.tenant_id, &it.action_id, &it.machine_id, &it.correlation_id];
            (ids.map(Clone::clone), it.active_action_id.clone())
        };
        self.message == other.message
            && what(self) == what(other)
            && texts(self) == texts(other)
            && ids(self) == ids(other)
            && self.retry_after == other.retry_after
            && self.candidates == other.candidates
    }
}
