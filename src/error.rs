//! One error for everything that can go wrong: what happened, to which machine or action, and what to do.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in the caller's terms. Each kind is one exception class of the Python package.
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
    /// The local disk: an `OSError` in Python.
    Io,
    /// Something of the caller's own raised, as a credential; it is the source.
    Caller,
}

/// The fields of an [`Error`], all public: an error is data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    pub kind: Kind,
    pub message: String,
    /// The service's own word, as `ActiveRequestAlreadyExists`.
    pub code: Option<String>,
    pub status: Option<u16>,
    /// What to quote to Microsoft.
    pub request_id: Option<String>,
    pub tenant_id: Option<String>,
    pub action_id: Option<String>,
    pub machine_id: Option<String>,
    pub correlation_id: Option<String>,
    /// The same call may succeed and runs nothing twice.
    pub retryable: bool,
    /// Seconds.
    pub retry_after: Option<f64>,
    pub hint: Option<String>,
    /// MachineBusy: another's action.
    pub active_action_id: Option<String>,
    /// AmbiguousMachine: each candidate as the service described it.
    pub candidates: Vec<Value>,
    /// Io: the errno and the path.
    pub os_error: Option<i32>,
    pub path: Option<String>,
    #[serde(skip)]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The crate's error. Boxed, so that a `Result` stays small.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Error(Box<Details>);

impl Error {
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
            message: message.into(),
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

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequest, message)
    }

    /// A failure of the local disk, with what was being done to which path.
    pub fn io(doing: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        let mut error =
            Self::new(Kind::Io, format!("could not {doing} {}: {source}", path.display()));
        error.os_error = source.raw_os_error();
        error.path = Some(path.display().to_string());
        error.with_source(source)
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
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

    /// Nobody was reached, or too many ask: no answer says that it will be so the next time.
    pub fn is_network_or_throttled(&self) -> bool {
        let cause = self.source.as_deref().and_then(|source| source.downcast_ref::<Self>());
        let passes = |kind: Kind| matches!(kind, Kind::ConnectionFailed | Kind::Throttled);
        passes(self.kind) || cause.is_some_and(|cause| passes(cause.kind))
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
