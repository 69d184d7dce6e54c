//! Lets the script of a web page call the emulator, if a switch says so (CORS, WHATWG Fetch).

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::emulator::wire::reply::Reply;
use crate::emulator::wire::request::IncomingRequest;

/// The headers that a page's script may read, beside those that it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Retry-After, Date, ETag, Content-Range, Content-Disposition, mise-correlation-id, \
     x-ms-error-code, x-ms-request-id",
);

/// Returns what Access-Control-Allow-Origin says to `origin`, if the switch allows it.
fn allowed_origin(allowed: Option<&str>, origin: &HeaderValue) -> Option<HeaderValue> {
    match allowed? {
        "*" => Some(HeaderValue::from_static("*")),
        allowed => (origin == allowed).then(|| origin.clone()),
    }
}

/// Answers the question of a browser whether a page may make a call.
pub fn preflight(allowed: Option<&str>, request: &IncomingRequest) -> Option<Reply> {
    let headers = &request.headers;
    if request.method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    allowed_origin(allowed, headers.get(ORIGIN)?)?;
    let mut reply = Reply::empty(StatusCode::NO_CONTENT)
        .with_header(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, POST, DELETE"),
        )
        .with_header(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        reply = reply.with_header(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Some(reply)
}

/// Adds the headers with which a browser gives the answer to the page's script.
pub fn add_headers(headers: &mut HeaderMap, allowed: Option<&str>, origin: &HeaderValue) {
    let Some(value) = allowed_origin(allowed, origin) else { return };
    if value != "*" {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}
