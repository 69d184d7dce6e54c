//! Reads the whole body of a response and undoes its content coding, in bounded memory.

use std::io::Read;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};

use super::ApiCall;
use crate::error::{Error, Kind};
use crate::transport::{Failure, Response};

/// The largest page of a list. 10,000 actions have about 20 MB.
const MAX_PAGE_BYTES: usize = 64 << 20;
/// The largest single record.
const MAX_ENTITY_BYTES: usize = 8 << 20;
/// The largest body of an error. Its message shows 1,000 characters.
const MAX_ERROR_BYTES: usize = 1 << 20;

pub(super) async fn read(
    response: Response,
    call: &ApiCall,
) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
    let (status, headers) = (response.status, response.headers.clone());
    let limit = match call.operation {
        _ if !status.is_success() => MAX_ERROR_BYTES,
        operation if operation.is_list() => MAX_PAGE_BYTES,
        _ => MAX_ENTITY_BYTES,
    };
    let is_deflate = |coding: &str| coding.trim().eq_ignore_ascii_case("deflate");
    let deflated =
        !call.as_sent && response.header(CONTENT_ENCODING.as_str()).is_some_and(is_deflate);
    let body = response.bytes(limit).await.map_err(|failure| with_status(failure, status))?;
    // The transport undoes gzip only.
    let body = if deflated {
        match inflate(&body, limit) {
            Inflated::Done(plain) => plain,
            Inflated::NotDeflate => body,
            Inflated::TooLarge => {
                let message = format!("the response is larger than {limit} bytes");
                let error = Error::new(Kind::Service, message);
                return Err(with_status(Failure { sent: true, error }, status));
            }
        }
    } else {
        body
    };
    Ok((status, headers, body))
}

/// Adds the status to the failure of a body that is too large. A body that was cut keeps none: it
/// is retried like a lost response.
fn with_status(mut failure: Failure, status: StatusCode) -> Failure {
    if failure.error.kind == Kind::Service {
        failure.error.status = Some(status.as_u16());
        failure.error.hint = Some(
            "the body was not read to its end; a gateway or proxy may be answering instead of the \
             service"
                .to_owned(),
        );
    }
    failure
}

enum Inflated {
    Done(Bytes),
    NotDeflate,
    TooLarge,
}

/// Decompresses `deflate`: the zlib format of the standard, or the raw format of some servers.
fn inflate(body: &[u8], limit: usize) -> Inflated {
    let zlib = read_to_limit(flate2::read::ZlibDecoder::new(body), limit);
    let plain = zlib.or_else(|| read_to_limit(flate2::read::DeflateDecoder::new(body), limit));
    match plain {
        Some(plain) if plain.len() > limit => Inflated::TooLarge,
        Some(plain) => Inflated::Done(plain.into()),
        None => Inflated::NotDeflate,
    }
}

/// Reads at most one byte more than `limit`.
fn read_to_limit(decoder: impl Read, limit: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut plain).ok()?;
    Some(plain)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;

    use super::*;

    #[test]
    fn deflate_is_read_in_both_formats_and_other_bytes_are_kept() {
        let text = br#"{"value":[]}"#.repeat(100);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&text).unwrap();
        for packed in [zlib.finish().unwrap(), raw.finish().unwrap()] {
            assert!(matches!(inflate(&packed, text.len()), Inflated::Done(it) if it == text));
            assert!(matches!(inflate(&packed, text.len() - 1), Inflated::TooLarge));
        }
        assert!(matches!(inflate(b"\xff\xff no", 99), Inflated::NotDeflate));
    }
}
