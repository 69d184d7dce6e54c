//! The page at `/__box/`: one file, whose script and style alone may run.

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, HeaderValue, REFERRER_POLICY};
use http::{Response, StatusCode};
use sha2::{Digest, Sha256};

use crate::emulator::http_control::answers;

const PAGE: &str = include_str!("page.html");

/// Returns the page with its policy.
pub fn response() -> Response<Bytes> {
    static POLICY: OnceLock<String> = OnceLock::new();
    let policy = POLICY.get_or_init(|| {
        format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash_of("<script>", "</script>"),
            hash_of("<style>", "</style>"),
        )
    });
    let mut response = answers::response(StatusCode::OK, "text/html; charset=utf-8", PAGE);
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Returns the source in a policy that allows what is between two tags of the page.
fn hash_of(begin: &str, end: &str) -> String {
    let after = PAGE.split_once(begin).map_or("", |(_, after)| after);
    let inner = after.split_once(end).map_or("", |(inner, _)| inner);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inner)))
}
