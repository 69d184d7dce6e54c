//! HTTP ranges of a blob, as Azure Storage serves them (docs/service.md, section 15, row 19).

use http::header::{ACCEPT_RANGES, CONTENT_RANGE, HeaderValue, IF_RANGE, RANGE};
use http::{HeaderMap, StatusCode};

use crate::emulator::blob::store::PackedBlob;
use crate::emulator::wire::reply::{Reply, ReplyBody, azure_error};

/// Returns the blob or the requested range of it. `version` is its ETag and its Last-Modified;
/// `ranges` is the switch `blob_ranges`.
pub fn range_reply(
    packed: &PackedBlob,
    version: [&str; 2],
    headers: &HeaderMap,
    ranges: bool,
) -> Result<Reply, Box<Reply>> {
    // An If-Range of another blob asks for the whole blob instead of a range that does not fit.
    let is_this = |wanted: &HeaderValue| version.into_iter().any(|own| wanted == own);
    let use_range = ranges && headers.get(IF_RANGE).is_none_or(is_this);
    let length = match packed {
        PackedBlob::Bytes(bytes) => bytes.len() as u64,
        PackedBlob::File(file) => file.len(),
    };
    let requested = headers.get(RANGE).and_then(|value| value.to_str().ok()).filter(|_| use_range);
    let range = requested.and_then(|text| parse_range(text, length));
    let (start, end) = match (requested, range) {
        (Some(_), Some(Some(range))) => range,
        (Some(_), Some(None)) => {
            let message = "The range specified is invalid for the current size of the resource.";
            let refused = azure_error(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
            return Err(Box::new(refused.with_text(CONTENT_RANGE, &format!("bytes */{length}"))));
        }
        _ => (0, length),
    };
    let partial = matches!(range, Some(Some(_)));
    let mut reply =
        Reply::empty(if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK });
    if partial {
        reply = reply
            .with_text(CONTENT_RANGE, &format!("bytes {start}-{}/{length}", end.saturating_sub(1)));
    }
    if ranges {
        reply.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    reply.body = match packed {
        PackedBlob::Bytes(bytes) => ReplyBody::Full(bytes.slice(start as usize..end as usize)),
        PackedBlob::File(file) => ReplyBody::Spooled { file: file.clone(), start, end },
    };
    Ok(reply)
}

/// Parses a single range into `start..end`.
///
/// Returns `None` if the text is not a single range: the whole blob is then sent. Returns
/// `Some(None)` if the range is out of bounds.
fn parse_range(text: &str, length: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let tail: u64 = last.parse().ok()?;
        return Some((tail > 0 && length > 0).then(|| (length.saturating_sub(tail), length)));
    }
    let start: u64 = first.parse().ok()?;
    let end = if last.is_empty() {
        length
    } else {
        last.parse::<u64>().ok()?.saturating_add(1).min(length)
    };
    Some((start < length && start < end).then_some((start, end)))
}
