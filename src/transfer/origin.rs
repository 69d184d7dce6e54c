//! Judges whether a response of a result link is a result, or a page of something in between such
//! as a proxy.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};

const GZIP: &[u8] = b"\x1f\x8b";
/// How pages in HTML or XML begin, in lower case.
const MARKUP: [&[u8]; 4] = [b"<!doctype", b"<html", b"<?xml", b"<head"];

/// What the headers of a response say about its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    sender: Sender,
    /// The media type in lower case, without its parameters.
    media_type: String,
}

/// The kinds of senders, the least trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sender {
    Unknown,
    /// A store of files: it knows the length and the version of what it sends.
    FileStore,
    AzureStorage,
}

impl Origin {
    /// The origin of bytes that need no check.
    pub(super) const TRUSTED: Self =
        Self { sender: Sender::AzureStorage, media_type: String::new() };

    /// Reads the headers of a 200 or 206 response.
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let has = |name: &str| headers.contains_key(name);
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        // Azure Storage sends all three with every blob (page "get-blob").
        let is_storage = has("x-ms-blob-type") || (has("x-ms-version") && has("x-ms-request-id"));
        let has_version = has(LAST_MODIFIED.as_str())
            || headers.get(ETAG).is_some_and(|etag| etag.as_bytes().starts_with(b"\""));
        let has_length = has(CONTENT_LENGTH.as_str()) || has(CONTENT_RANGE.as_str());
        let sender = if has("x-ms-error-code") {
            Sender::Unknown
        } else if is_storage {
            Sender::AzureStorage
        } else if has_version && has_length {
            Sender::FileStore
        } else {
            Sender::Unknown
        };
        Self { sender, media_type }
    }

    /// Returns whether the response is from a store, and not from an unknown sender.
    pub fn is_store(&self) -> bool {
        self.sender != Sender::Unknown
    }

    /// Returns whether the headers are those of a web page.
    pub fn is_page(&self) -> bool {
        self.sender != Sender::AzureStorage && self.media_type.ends_with("html")
    }

    pub fn is_azure_storage(&self) -> bool {
        self.sender == Sender::AzureStorage
    }

    /// Returns whether this origin proves less than `other`.
    pub(super) fn is_weaker_than(&self, other: &Self) -> bool {
        self.sender < other.sender
    }

    /// Returns what the response is if it cannot be a collected file. `head` is the start of its
    /// body, or all of it.
    pub(super) fn reject_file(&self, head: &[u8], length: Option<u64>) -> Option<String> {
        if head.is_empty() {
            // A file without content is possible only if the storage itself says so.
            let is_empty_file = self.is_azure_storage() && length == Some(0);
            return (!is_empty_file).then(|| describe_page(head, &self.media_type));
        }
        let is_gzip = head.starts_with(GZIP);
        let is_text_type = self.media_type.starts_with("text/")
            || ["json", "xml", "html"].iter().any(|word| self.media_type.ends_with(word));
        let is_page = match self.sender {
            Sender::AzureStorage => false,
            // The service compresses collected files. A page may be compressed too.
            _ if self.media_type.ends_with("html") => true,
            Sender::FileStore => !is_gzip && (is_text_type || is_markup(head)),
            // Only a checksum can prove that these bytes are complete.
            Sender::Unknown => !is_gzip,
        };
        is_page.then(|| describe_page(head, &self.media_type))
    }

    /// Returns a description of a body that is not the result.
    pub fn describe_page(&self, head: &[u8]) -> String {
        describe_page(head, &self.media_type)
    }
}

/// Returns whether a text begins like a page in HTML or XML.
pub fn is_markup(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    MARKUP
        .iter()
        .any(|word| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

fn describe_page(head: &[u8], media_type: &str) -> String {
    let what = match head {
        [] => "no bytes",
        _ if media_type.ends_with("html") || is_markup(head) => "a web page",
        _ if head.starts_with(GZIP) => "a damaged gzip",
        _ => "other data",
    };
    // The value comes from outside: only a plain media type is repeated.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/.+-".contains(c);
    if media_type.is_empty() || media_type.len() > 60 || !media_type.chars().all(is_plain) {
        return what.to_owned();
    }
    format!("{what} of type {media_type}")
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const STORAGE: [(&str, &str); 3] =
        [("x-ms-request-id", "1"), ("x-ms-version", "2020-06-12"), ("x-ms-blob-type", "BlockBlob")];

    fn origin(headers: &[(&'static str, &'static str)]) -> Origin {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Origin::from_headers(&headers.collect())
    }

    #[test]
    fn senders_are_recognized_by_their_headers() {
        let storage = Sender::AzureStorage;
        for (headers, sender) in [
            (&STORAGE[..], storage),
            (&STORAGE[..2], storage),
            (&STORAGE[2..], storage),
            (&STORAGE[..1], Sender::Unknown),
            (&[("etag", "\"1\""), ("content-length", "5")], Sender::FileStore),
            (&[("last-modified", "x"), ("content-range", "bytes 0-1/2")], Sender::FileStore),
            (&[("etag", "W/\"1\""), ("content-length", "5")], Sender::Unknown),
            (&[("etag", "\"1\"")], Sender::Unknown),
            (&[("content-length", "5")], Sender::Unknown),
            (&[("x-ms-blob-type", "BlockBlob"), ("x-ms-error-code", "x")], Sender::Unknown),
        ] {
            assert_eq!(origin(headers).sender, sender, "{headers:?}");
        }
    }

    #[test]
    fn a_page_is_no_collected_file() {
        let (html, gzip, zip) =
            (&b" <!DOCTYPE html><p>"[..], &b"\x1f\x8b\x08"[..], &b"PK\x03\x04"[..]);
        let with = |headers: &[(&'static str, &'static str)], media_type: &'static str| {
            origin(&[headers, &[("content-type", media_type)]].concat())
        };
        let (none, store) = (&[][..], &[("etag", "\"1\""), ("content-length", "5")][..]);
        let binary = "application/octet-stream";
        for (headers, media_type, head, is_file) in [
            (&STORAGE[..], binary, gzip, true),
            (&STORAGE, binary, html, true),
            (&STORAGE, "text/html", html, true),
            (none, binary, gzip, true),
            (none, binary, zip, false),
            (none, binary, b"\x00noise", false),
            (none, binary, b"", false),
            (none, "text/html; charset=utf-8", gzip, false),
            (store, binary, gzip, true),
            (store, binary, zip, true),
            (store, binary, b"plain", true),
            (store, binary, html, false),
            (store, "text/html", gzip, false),
            (store, "application/json", b"{}", false),
            (store, "text/plain", b"blocked", false),
            (store, binary, b"", false),
        ] {
            let rejected = with(headers, media_type).reject_file(head, None);
            assert_eq!(rejected.is_none(), is_file, "{headers:?} {media_type} {head:?}");
        }
        let storage = origin(&STORAGE);
        assert_eq!(storage.reject_file(b"", Some(0)), None, "the storage has an empty file");
        assert!(storage.reject_file(b"", None).is_some());
        assert_eq!(with(none, "text/html").describe_page(html), "a web page of type text/html");
        assert_eq!(with(none, "a b").describe_page(b""), "no bytes");
    }
}
