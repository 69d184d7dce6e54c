//! Range requests to the blob storage, and their responses.

use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_RANGE, RANGE,
};

use super::origin::Origin;
use crate::transport::{Response, ResponseBody};

/// The rest of a blob from an offset on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlobRange {
    pub offset: u64,
    /// The ETag of the bytes before the offset.
    pub etag: Option<HeaderValue>,
}

/// An open blob, or the rest of one.
pub struct Blob {
    pub body: ResponseBody,
    pub offset: u64,
    /// Size of the whole blob in bytes, if the host says.
    pub length: Option<u64>,
    /// The strong ETag. None: the host sent no ETag, or a weak one.
    pub etag: Option<HeaderValue>,
    /// What the headers say about the sender.
    pub origin: Origin,
}

impl BlobRange {
    /// Returns the headers that request this range.
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.offset > 0 {
            headers.insert(
                RANGE,
                format!("bytes={}-", self.offset)
                    .try_into()
                    .unwrap_or(HeaderValue::from_static("")),
            );
            // If the blob has changed, the host sends all of it instead. If the host ignores
            // If-Range, the ETag in its response shows the change.
            headers.extend(self.etag.clone().map(|etag| (IF_RANGE, etag)));
        }
        headers
    }
}

impl Blob {
    /// Reads the headers of a 200 or 206 response. Returns none if it is not the requested range.
    pub fn from_response(response: Response, range: &BlobRange) -> Option<Self> {
        let headers = &response.headers;
        // A weak ETag does not promise the same bytes.
        let etag = headers.get(ETAG).filter(|etag| etag.as_bytes().starts_with(b"\"")).cloned();
        let (offset, length) = match response.status.as_u16() {
            206 => content_range(text(headers, CONTENT_RANGE)?)
                .filter(|(offset, _)| *offset == range.offset)?,
            _ => (0, text(headers, CONTENT_LENGTH).and_then(|length| length.parse().ok())),
        };
        let origin = Origin::from_headers(headers);
        Some(Self { body: response.body, offset, length, etag, origin })
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Returns 5 and 10 for `bytes 5-9/10`. The length may be `*`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (offset, _) = range.split_once('-')?;
    Some((offset.trim().parse().ok()?, length.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn read(
        status: u16,
        headers: &[(&'static str, &str)],
        offset: u64,
    ) -> Option<(u64, Option<u64>, bool)> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let response =
            Response::from_bytes(StatusCode::from_u16(status).unwrap(), headers.collect(), "");
        Blob::from_response(response, &BlobRange { offset, etag: None })
            .map(|blob| (blob.offset, blob.length, blob.etag.is_some()))
    }

    #[test]
    fn response_headers() {
        assert_eq!(read(200, &[], 0), Some((0, None, false)));
        assert_eq!(
            read(200, &[("content-length", "7"), ("etag", "\"0x1\"")], 5),
            Some((0, Some(7), true))
        );
        assert_eq!(
            read(200, &[("etag", "W/\"0x1\"")], 0),
            Some((0, None, false)),
            "a weak ETag does not promise the same bytes"
        );
        assert_eq!(read(206, &[("content-range", "bytes 5-6/7")], 5), Some((5, Some(7), false)));
        assert_eq!(read(206, &[("content-range", "bytes 5-6/*")], 5), Some((5, None, false)));
        for range in ["bytes 4-6/7", "bytes */7", "items 5-6/7", "", "bytes x-6/7"] {
            assert_eq!(read(206, &[("content-range", range)], 5), None, "{range}");
        }
        assert_eq!(read(206, &[], 0), None);
    }

    #[test]
    fn the_whole_blob_is_requested_without_a_range() {
        let etag = Some(HeaderValue::from_static("\"0x1\""));
        assert!(BlobRange { offset: 0, etag: etag.clone() }.headers().is_empty());
        let headers = BlobRange { offset: 9, etag }.headers();
        assert_eq!(
            (headers[RANGE].as_bytes(), headers[IF_RANGE].as_bytes()),
            (&b"bytes=9-"[..], &b"\"0x1\""[..])
        );
    }
}
