//! What the emulator answers, and the error bodies of facts.md, section 10.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use uuid::Uuid;

use crate::emulator::blob::spooled_file::SpooledFile;

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
    /// Sent without a length, as the service sends its entities (facts 3.2).
    pub chunked: bool,
}

#[derive(Debug)]
pub enum Body {
    Full(Bytes),
    /// Bytes `start..end` of a spooled file.
    Spooled {
        file: SpooledFile,
        start: u64,
        end: u64,
    },
}

const ENTITY: HeaderValue = HeaderValue::from_static(
    "application/json; odata.metadata=minimal; odata.streaming=true; charset=utf-8",
);
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");

impl Reply {
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::Full(Bytes::new()), chunked: false }
    }

    /// An entity or a list of them.
    pub fn entity(status: StatusCode, body: Vec<u8>) -> Self {
        let mut reply = Self::json(status, body).with_header(CONTENT_TYPE, ENTITY);
        reply.headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
        reply.chunked = true;
        reply
    }

    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::empty(status).with_header(CONTENT_TYPE, JSON);
        reply.body = Body::Full(body.into());
        reply
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    #[must_use]
    pub fn with_text(self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.with_header(name, value),
            Err(_) => self,
        }
    }
}

/// A refusal, before it has its tracking id. Boxed, so that a `Result` stays small.
#[derive(Debug)]
pub struct ApiError(Box<ApiErrorFields>);

#[derive(Debug)]
pub struct ApiErrorFields {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
    /// The default is a new tracking id.
    pub target: Option<String>,
    pub retry_after: Option<u64>,
    /// What is sent in place of the documented body.
    pub raw: Option<(&'static str, Bytes)>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(ApiErrorFields {
            status,
            code: code.to_owned(),
            message,
            target: None,
            retry_after: None,
            raw: None,
        }))
    }

    pub fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    pub fn forbidden(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// `{"error":{"code","message","target"}}` (facts 10.1).
    pub fn into_reply(self, tracking: Uuid) -> Reply {
        let fields = *self.0;
        let mut reply = if let Some((content_type, body)) = fields.raw {
            let mut reply = Reply::empty(fields.status);
            if !content_type.is_empty() {
                reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            reply.body = Body::Full(body);
            reply
        } else {
            let target = fields.target.unwrap_or_else(|| tracking.to_string());
            let error = serde_json::json!({"code": fields.code, "message": fields.message, "target": target});
            Reply::json(fields.status, serde_json::json!({ "error": error }).to_string())
        };
        if let Some(seconds) = fields.retry_after {
            reply.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        reply
    }
}

impl Deref for ApiError {
    type Target = ApiErrorFields;

    fn deref(&self) -> &ApiErrorFields {
        &self.0
    }
}

impl DerefMut for ApiError {
    fn deref_mut(&mut self) -> &mut ApiErrorFields {
        &mut self.0
    }
}

/// Status from a switch; what is no status is 500.
pub fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
