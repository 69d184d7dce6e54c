//! The answers of the control: JSON, and errors as `{"error": {"code", "message"}}`.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use crate::error::{Error, Kind};

/// Why a request is refused.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// The methods of the path, for a 405.
    allow: Option<&'static str>,
}

pub type Answered = Result<Response<Bytes>, Refusal>;

impl Refusal {
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidRequest", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    pub fn too_large(limit: u64) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "TooLarge", message)
    }

    pub fn wrong_method(path: &str, allow: &'static str) -> Self {
        let message = format!("{path} takes {allow}");
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message);
        Self { allow: Some(allow), ..refusal }
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), allow: None }
    }

    pub fn into_response(self) -> Response<Bytes> {
        let error = json!({ "code": self.code, "message": self.message });
        let mut response = json_response(self.status, &json!({ "error": error }));
        if let Some(allow) = self.allow {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let message = match &error.hint {
            Some(hint) => format!("{}. Hint: {hint}", error.message),
            None => error.message.clone(),
        };
        match error.kind {
            Kind::NotFound => Self::not_found(message),
            _ => Self::bad_request(message),
        }
    }
}

pub fn ok(value: &Value) -> Response<Bytes> {
    json_response(StatusCode::OK, value)
}

pub fn json_response(status: StatusCode, value: &Value) -> Response<Bytes> {
    response(status, "application/json; charset=utf-8", value.to_string())
}

/// Returns a response that no browser keeps, guesses the type of, or shows to another site.
pub fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Bytes> {
    let headers = [
        (CONTENT_TYPE, content_type),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    *response.headers_mut() = HeaderMap::from_iter(headers);
    response
}
