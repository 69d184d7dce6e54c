//! The control over HTTP, under `/__box/`: what Python can set and read, for every language.
//!
//! Its requests are no calls of the service: they are not logged or counted, use no quota, and no
//! fault reaches them.

mod access;
mod answers;
mod page;
mod reads;
mod routes;
mod writes;

pub use access::ControlAccess;

use bytes::Bytes;
use http::{Request, Response};

use crate::emulator::Emulator;

/// The first segment of the paths.
const ROOT: &str = "/__box";

/// The most bytes of a body: the largest library file in base64, and room around it.
pub const MAX_BODY: u64 = 32 << 20;

/// Returns whether a path belongs to the control.
pub fn is_control_path(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether a path is that of the page.
fn is_page(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| matches!(rest, "" | "/"))
}

/// Returns the response to a body that is larger.
pub fn body_too_large() -> Response<Bytes> {
    answers::Refusal::too_large(MAX_BODY).into_response()
}

impl Emulator {
    /// Answers a request to the control, which may run scripts that are due. Whether its sender may
    /// send it is not checked here.
    pub fn control(&self, request: &Request<Bytes>) -> Response<Bytes> {
        routes::answer(self, request).unwrap_or_else(answers::Refusal::into_response)
    }
}
