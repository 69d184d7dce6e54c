//! Responses, and the error bodies of the API and the blob host (docs/service.md, section 10).

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::json;
use uuid::Uuid;

use crate::emulator::blob::spooled_file::SpooledFile;

/// What the client sees of a request.
pub enum ExchangeOutcome {
    Answered(Reply),
    /// The connection breaks after this many bytes of the body.
    Truncated(Reply, usize),
    /// The connection breaks before the response.
    Dropped {
        /// Whether the request was read before.
        read: bool,
    },
}

#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ReplyBody,
    /// Sent without Content-Length, as the service sends entities (docs/service.md, section 3.2).
    pub chunked: bool,
    /// The action or machine that is the body, for a fault that puts another in its place.
    pub entity: Option<EntityRef>,
    /// The action that this response reports to its client, unchanged: that of an accepted submit.
    pub accepted: Option<u32>,
}

/// The position of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntityRef {
    Action(u32),
    Machine(u32),
}

#[derive(Debug)]
pub enum ReplyBody {
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
        Self {
            status,
            headers: HeaderMap::new(),
            body: ReplyBody::Full(Bytes::new()),
            chunked: false,
            entity: None,
            accepted: None,
        }
    }

    /// Returns an entity or a list of entities.
    pub fn entity(status: StatusCode, body: Vec<u8>) -> Self {
        let mut reply = Self::json(status, body).with_header(CONTENT_TYPE, ENTITY);
        reply.headers.insert(ODATA_VERSION, HeaderValue::from_static("4.0"));
        reply.chunked = true;
        reply
    }

    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let mut reply = Self::empty(status).with_header(CONTENT_TYPE, JSON);
        reply.body = ReplyBody::Full(body.into());
        reply
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Sets a header. A value that is not allowed in a header is left out.
    #[must_use]
    pub fn with_text(self, name: HeaderName, value: &str) -> Self {
        match HeaderValue::from_str(value) {
            Ok(value) => self.with_header(name, value),
            Err(_) => self,
        }
    }
}

/// An error of the API, before it has its tracking id. Boxed to keep `Result` small.
#[derive(Debug)]
pub struct ApiError(Box<ApiErrorFields>);

#[derive(Debug)]
pub struct ApiErrorFields {
    pub status: StatusCode,
    pub code: String,
    pub message: String,
    /// The default is the request's tracking id.
    pub target: Option<String>,
    /// Seconds of wall time.
    pub retry_after: Option<u64>,
    /// Content type and body to send instead of the documented body.
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

    /// Returns `{"error":{"code","message","target"}}` (docs/service.md, section 10.1).
    pub fn into_reply(self, tracking: Uuid) -> Reply {
        let fields = *self.0;
        let mut reply = if let Some((content_type, body)) = fields.raw {
            let mut reply = Reply::empty(fields.status);
            if !content_type.is_empty() {
                reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            reply.body = ReplyBody::Full(body);
            reply
        } else {
            let target = fields.target.unwrap_or_else(|| tracking.to_string());
            let error = json!({"code": fields.code, "message": fields.message, "target": target});
            Reply::json(fields.status, json!({ "error": error }).to_string())
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

/// Returns the status that a switch names, or 500 if the number is not a status.
pub fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Returns an error of Azure Storage. Boxed to keep `Result` small.
pub fn azure_error(status: StatusCode, code: &str, message: &str) -> Box<Reply> {
    // Azure Storage sends a byte order mark before the XML.
    let body = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error>"
    );
    let mut reply = Reply::empty(status);
    reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    reply.body = ReplyBody::Full(body.into());
    Box::new(reply.with_text(HeaderName::from_static("x-ms-error-code"), code))
}
