//! Maps an error response to an error: kind, message and hint.

mod cause;
mod error_body;
mod hint;
mod throttle;

use http::{HeaderMap, StatusCode};

use crate::error::{Error, Kind};
use crate::model::ArgumentRedactor;
use crate::operation::{Operation, Subject};
use crate::text::sanitize;
use cause::Cause;
use error_body::ErrorBody;
pub(crate) use throttle::retry_after_from_headers;
pub use throttle::{Throttle, classify_throttle};

/// The call that failed.
#[derive(Clone, Debug)]
pub struct ErrorContext {
    pub operation: Operation,
    pub machine_id: Option<String>,
    pub action_id: Option<String>,
    pub tenant_id: Option<String>,
    /// Another name of the object of the call, such as a library file or a computer name.
    pub subject: Option<String>,
    /// What no message may repeat.
    pub arguments: ArgumentRedactor,
}

impl ErrorContext {
    /// Creates a context without any ids.
    pub fn new(operation: Operation) -> Self {
        Self {
            operation,
            machine_id: None,
            action_id: None,
            tenant_id: None,
            subject: None,
            arguments: ArgumentRedactor::default(),
        }
    }

    /// Returns "submit a live response session to machine 9a0b…".
    pub fn describe_operation(&self) -> String {
        let doing = self.operation.description();
        let what = self.subject.as_deref().map(|what| sanitize(what, 200));
        let machine = self.machine_id.clone().or_else(|| what.clone());
        let (link, subject) = self.operation.subject();
        let object = match subject {
            Subject::Machine => machine,
            Subject::Action => self.action_id.clone(),
            Subject::Named => what,
        };
        object.map_or_else(|| doing.to_owned(), |object| format!("{doing}{link}{object}"))
    }
}

/// Returns the error of a response that is not a success. `now_wall` is the Unix time, for a
/// `Retry-After` that is a date.
pub fn error_from_response(
    context: &ErrorContext,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now_wall: f64,
) -> Error {
    let error_body = ErrorBody::parse_without(body, &context.arguments);
    let kind = error_kind(context.operation, status, &error_body);
    let throttle = (kind == Kind::Throttled)
        .then(|| throttle::throttle_from_body(context.operation, headers, &error_body, now_wall));
    let mut error = Error::new(kind, error_message(context, status, &error_body));
    error.hint = hint::hint_for_error(kind, context.operation, status, &error_body, throttle);
    // A retry gets the same client error again. After a server error or a 408, it may succeed.
    error.retryable = match kind {
        Kind::Service => status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT,
        Kind::MachineBusy | Kind::Throttled => true,
        _ => false,
    };
    error.retry_after = throttle::retry_after(headers, &error_body, now_wall);
    error.status = Some(status.as_u16());
    // The target is the request id, except that a 429 has the tenant id there.
    let target = error_body.target.filter(|_| status != StatusCode::TOO_MANY_REQUESTS);
    error.request_id = target.or_else(|| correlation_id(headers));
    error.code = error_body.code;
    error.machine_id.clone_from(&context.machine_id);
    error.action_id.clone_from(&context.action_id);
    error.tenant_id.clone_from(&context.tenant_id);
    error
}

/// Returns the kind of an error, by the table of the page "common-errors".
fn error_kind(operation: Operation, status: StatusCode, error_body: &ErrorBody) -> Kind {
    let uploading = operation == Operation::UploadLibraryFile;
    let code = error_body.code.as_deref().unwrap_or_default();
    match status.as_u16() {
        // A tenant that is not active is a 401 too, and no token helps (docs/service.md, section
        // 19). The kind stays that of the status.
        401 => Kind::Authentication,
        // A 404 page of a gateway does not mean that the object does not exist.
        404 if !error_body.not_json => Kind::NotFound,
        429 => Kind::Throttled,
        400..=499 if says_busy(operation, code, error_body) => Kind::MachineBusy,
        400..=499 if uploading && error_body.message_contains("already exists") => {
            Kind::AlreadyExists
        }
        // An unknown code is not the caller's mistake for certain: it is a service error.
        400 if is_invalid_request(code) => Kind::InvalidRequest,
        // A 403 without a code comes from a gateway or firewall, unless it has the service's words.
        403 if !code.is_empty() || Cause::of(error_body).is_some() => Kind::PermissionDenied,
        413 if uploading => Kind::InvalidRequest,
        _ => Kind::Service,
    }
}

/// Returns whether a session keeps the machine busy. The service says so in a message under a code
/// that is not known (docs/service.md, section 19).
fn says_busy(operation: Operation, code: &str, error_body: &ErrorBody) -> bool {
    code.eq_ignore_ascii_case("ActiveRequestAlreadyExists")
        || operation == Operation::RunLiveResponse
            && ["already in progress", "active request already exists", "already running"]
                .iter()
                .any(|words| error_body.message_contains(words))
}

fn is_invalid_request(code: &str) -> bool {
    const CODES: [&str; 6] = [
        "BadRequest",
        "ODataError",
        "MissingRequiredParameter",
        "MaximumBatchSizeExceeded",
        "OsPlatformNotSupported",
        "ClientVersionNotSupported",
    ];
    code.starts_with("Invalid") || CODES.contains(&code)
}

fn error_message(context: &ErrorContext, status: StatusCode, error_body: &ErrorBody) -> String {
    let status = status.as_u16().to_string();
    // The service sends the code "429" with the status 429: not repeated.
    let code = error_body
        .code
        .as_deref()
        .filter(|code| *code != status)
        .map(|code| format!(" {code}"))
        .unwrap_or_default();
    let words = match (&error_body.message, &error_body.format_error) {
        (Some(message), _) => format!(": {message}"),
        (None, Some(format_error)) => format!(" with {format_error}"),
        (None, None) => String::new(),
    };
    format!(
        "could not {}: the service answered {status}{code}{words}",
        context.describe_operation()
    )
}

fn correlation_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("mise-correlation-id")?.to_str().ok()?;
    Some(sanitize(text, 200)).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests;
