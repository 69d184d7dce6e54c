//! Reads the whole body of a response and undoes its content coding.

use std::io::Read;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, StatusCode};

use crate::transport::{Failure, Response};

/// The largest body that is read. A page of 10,000 actions has about 20 MB.
const MAX_BODY_BYTES: usize = 256 << 20;

pub(super) async fn read(response: Response) -> Result<(StatusCode, HeaderMap, Bytes), Failure> {
    let (status, headers) = (response.status, response.headers.clone());
    let deflated = response
        .header(CONTENT_ENCODING.as_str())
        .is_some_and(|coding| coding.eq_ignore_ascii_case("deflate"));
    let body = response.bytes(MAX_BODY_BYTES).await?;
    // The transport undoes gzip only.
    Ok((status, headers, if deflated { inflate(&body).unwrap_or(body) } else { body }))
}

/// Decompresses `deflate`: the zlib format of the standard, or the raw format of some servers.
fn inflate(body: &[u8]) -> Option<Bytes> {
    let mut plain = Vec::new();
    let limit = MAX_BODY_BYTES as u64;
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
    fn deflate_is_read_in_both_formats_and_other_bytes_are_rejected() {
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
