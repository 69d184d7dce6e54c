//! A request as it arrived, in process or over TCP.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::emulator::inventory::upload_form::UploadForm;
use crate::emulator::wire::addresses::Addresses;

#[derive(Clone, Debug)]
pub struct IncomingRequest {
    /// Its number in the request log.
    pub number: u64,
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the body was larger than the emulator keeps. `body` is then empty.
    pub body_too_large: bool,
    /// The parsed form of an upload, or why it could not be parsed. `None` for every other route.
    pub upload: Option<Result<UploadForm, String>>,
    /// The URLs that fit the host that the client asked the proxy for. `None`: the emulator's own.
    pub addresses: Option<Arc<Addresses>>,
}

impl IncomingRequest {
    /// Returns the request before its body is read.
    pub fn without_body(
        method: Method,
        path: &str,
        query: Option<&str>,
        headers: HeaderMap,
    ) -> Self {
        Self {
            number: 0,
            method,
            path: path.to_owned(),
            query: query.unwrap_or("").to_owned(),
            headers,
            body: Bytes::new(),
            body_too_large: false,
            upload: None,
            addresses: None,
        }
    }
}
