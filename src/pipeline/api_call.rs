//! The request of one call to the service.

use std::fmt;

use http::Method;
use http::header::HeaderValue;

use crate::error::Error;
use crate::model::ArgumentRedactor;
use crate::operation::Operation;
use crate::transport::RequestBody;

/// One call to the service.
#[derive(Clone)]
pub struct ApiCall {
    pub operation: Operation,
    pub method: Method,
    /// Path and query, relative to the endpoint.
    pub path: String,
    pub content_type: Option<HeaderValue>,
    pub body: RequestBody,
    /// Whether the response keeps the content coding in which it was sent.
    pub as_sent: bool,
    pub machine_id: Option<String>,
    pub action_id: Option<String>,
    /// The name of a library file.
    pub file_name: Option<String>,
    /// The script arguments in the body, which no error may repeat.
    pub arguments: ArgumentRedactor,
}

impl fmt::Debug for ApiCall {
    /// Omits the query and the body, which may contain script arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "ApiCall({} {path}, {} bytes)", self.method, self.body.len())
    }
}

impl ApiCall {
    pub fn get(operation: Operation, path: impl Into<String>) -> Self {
        Self {
            operation,
            method: Method::GET,
            path: path.into(),
            content_type: None,
            body: RequestBody::default(),
            as_sent: false,
            machine_id: None,
            action_id: None,
            file_name: None,
            arguments: ArgumentRedactor::default(),
        }
    }

    pub fn post_json(
        operation: Operation,
        path: impl Into<String>,
        body: &serde_json::Value,
    ) -> Self {
        let mut call = Self::get(operation, path);
        call.method = Method::POST;
        call.content_type = Some(HeaderValue::from_static("application/json"));
        call.body = body.to_string().into();
        call
    }

    #[must_use]
    pub fn with_machine_id(mut self, machine_id: &str) -> Self {
        self.machine_id = Some(machine_id.to_owned());
        self
    }

    #[must_use]
    pub fn with_action_id(mut self, action_id: &str) -> Self {
        self.action_id = Some(action_id.to_owned());
        self
    }

    /// Adds the call's machine and action to an error that does not name them yet.
    pub(super) fn annotate(&self, mut error: Error) -> Error {
        error.machine_id = error.machine_id.take().or_else(|| self.machine_id.clone());
        error.action_id = error.action_id.take().or_else(|| self.action_id.clone());
        error
    }
}
