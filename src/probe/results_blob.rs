//! Reads the start of a result, and what its headers show.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};

use super::observations::Observations;
use crate::pipeline::Pipeline;
use crate::secret::SecretUrl;
use crate::transfer::Origin;

/// How much of a result is read.
const MAX_BYTES: usize = 1 << 20;
/// The headers that are recorded. Of another, the name may be the tenant's own.
const KNOWN_HEADERS: [&str; 22] = [
    "accept-ranges",
    "access-control-allow-origin",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-range",
    "content-type",
    "etag",
    "last-modified",
    "x-ms-access-tier",
    "x-ms-blob-content-md5",
    "x-ms-blob-type",
    "x-ms-creation-time",
    "x-ms-lease-state",
    "x-ms-lease-status",
    "x-ms-request-id",
    "x-ms-server-encrypted",
    "x-ms-version",
    "x-ms-version-id",
];
const KNOWN_TYPES: [&str; 8] = [
    "application/gzip",
    "application/json",
    "application/octet-stream",
    "application/x-gzip",
    "application/xml",
    "application/zip",
    "text/html",
    "text/plain",
];

/// The start of a result.
pub(super) struct ResultStart {
    pub bytes: Bytes,
    /// Whether these are all bytes.
    pub is_whole: bool,
    /// Whether the sender is a store of files, and no proxy.
    pub is_from_store: bool,
    /// Whether the header says that the bytes are compressed.
    pub is_marked_gzip: bool,
}

/// Requests the start of a result. None: the host does not send it.
pub(super) async fn read_blob(
    pipeline: &Pipeline,
    link: &SecretUrl,
    evidence: &mut Observations,
) -> Option<ResultStart> {
    let range = format!("bytes=0-{}", MAX_BYTES - 1).try_into().ok()?;
    let headers = HeaderMap::from_iter([(RANGE, range)]);
    let Ok(response) = pipeline.request_link(link, headers).await else {
        evidence.tally("unread", "result: no answer");
        return None;
    };
    let status = response.status.as_u16();
    evidence.tally("blob_answers", status.to_string());
    if !matches!(status, 200 | 206) {
        return None;
    }
    let headers = response.headers.clone();
    let is_from_store = Origin::from_headers(&headers).is_store();
    if is_from_store {
        evidence.add("blob_ranges", status == 206);
        record_headers(&headers, evidence);
    }
    let mut body = response.body;
    let mut bytes = BytesMut::new();
    let mut ended = false;
    while bytes.len() < MAX_BYTES && !ended {
        match body.next().await {
            Some(chunk) => bytes.extend_from_slice(&chunk.ok()?),
            None => ended = true,
        }
    }
    let length = whole_length(&headers, status);
    let is_whole = length.map_or(ended && status == 200, |length| length == bytes.len() as u64);
    let coding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    let is_marked_gzip = coding.is_some_and(|it| it.trim().eq_ignore_ascii_case("gzip"));
    Some(ResultStart { bytes: bytes.freeze(), is_whole, is_from_store, is_marked_gzip })
}

/// Returns the length of the whole result, if the headers have it.
fn whole_length(headers: &HeaderMap, status: u16) -> Option<u64> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match status {
        206 => text(CONTENT_RANGE)?.rsplit_once('/')?.1.trim().parse().ok(),
        _ => text(CONTENT_LENGTH)?.trim().parse().ok(),
    }
}

fn record_headers(headers: &HeaderMap, evidence: &mut Observations) {
    for name in KNOWN_HEADERS.into_iter().filter(|name| headers.contains_key(*name)) {
        evidence.tally("blob_headers", name);
    }
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Some(media_type) = media_type.and_then(|it| it.split(';').next()) else { return };
    let known = KNOWN_TYPES.into_iter().find(|it| media_type.trim().eq_ignore_ascii_case(it));
    evidence.tally("blob_types", known.unwrap_or("other"));
}
