//! What is asked of the service.

use std::fmt;

use http::Method;
use http::header::HeaderValue;

use crate::error::Error;
use crate::operation::Operation;
use crate::transport::RequestBody;

/// One call of the service.
#[derive(Clone)]
pub struct ApiCall {
    pub operation: Operation,
    pub method: Method,
    /// Below the endpoint, query included.
    pub path: String,
    pub content_type: Option<HeaderValue>,
    pub body: RequestBody,
    pub machine_id: Option<String>,
    pub action_id: Option<String>,
    /// A library file's name.
    pub file_name: Option<String>,
}

impl fmt::Debug for ApiCall {
    /// Without query and body, which may hold what a script is given.
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
            machine_id: None,
            action_id: None,
            file_name: None,
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

    /// Puts what the call is about into an error that came from below.
    pub(super) fn annotate(&self, mut error: Error) -> Error {
        error.machine_id = error.machine_id.take().or_else(|| self.machine_id.clone());
        error.action_id = error.action_id.take().or_else(|| self.action_id.clone());
        error
    }
}
