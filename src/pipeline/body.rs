//! An answer's body, read whole and its content coding undone.

use std::io::Read;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};

use crate::transport::{Failure, Response};

/// A page of 10,000 actions is some 20 MB; ten times that is no answer.
const LARGEST_ANSWER: usize = 256 << 20;

pub(super) async fn read(response: Response) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
    let (status, headers) = (response.status, response.headers.clone());
    let deflated = response
        .header(CONTENT_ENCODING.as_str())
        .is_some_and(|coding| coding.eq_ignore_ascii_case("deflate"));
    let body = response.bytes(LARGEST_ANSWER).await?;
    Ok((status, headers, if deflated { inflate(&body).unwrap_or(body) } else { body }))
}

/// Reads `deflate` in the form that the standard means, zlib's, and in the raw form that some servers send.
fn inflate(body: &[u8]) -> Option<Bytes> {
    let mut plain = Vec::new();
    let limit = LARGEST_ANSWER as u64;
    if flate2::read::ZlibDecoder::new(body).take(limit).read_to_end(&mut plain).is_ok() {
        return Some(plain.into());
    }
    plain.clear();
    flate2::read::DeflateDecoder::new(body).take(limit).read_to_end(&mut plain).ok()?;
    Some(plain.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;

    use super::*;

    #[test]
    fn deflate_is_read_in_both_its_forms_and_what_is_neither_is_left_alone() {
        let text = br#"{"value":[]}"#.repeat(100);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&text).unwrap();
        assert_eq!(inflate(&zlib.finish().unwrap()).unwrap(), text);
        assert_eq!(inflate(&raw.finish().unwrap()).unwrap(), text);
        assert!(inflate(b"\xff\xff no").is_none());
    }
}
