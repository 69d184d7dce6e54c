//! Unpacks payloads: gzip, zip and byte order marks, up to a size limit.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use flate2::bufread::GzDecoder;
use zip::ZipArchive;

use crate::error::{Error, Kind, Result};

/// The content of a payload.
pub(super) enum UnpackedPayload<'a> {
    /// JSON, or a document of another format.
    Document(Cow<'a, [u8]>),
    /// Two files in a zip, one for each stream. Some agents send that.
    Streams { stdout: Vec<u8>, stderr: Vec<u8> },
    /// A gzip or zip that cannot be unpacked.
    Broken,
}

const GZIP: &[u8] = b"\x1f\x8b";
const ZIP: &[u8] = b"PK\x03\x04";
// A transcript has one member. Each costs a new decoder, and a hostile payload may have millions.
const MAX_GZIP_MEMBERS: usize = 1000;

/// Unpacks a payload to at most `limit` bytes.
pub(super) fn unpack_payload(payload: &[u8], limit: usize) -> Result<UnpackedPayload<'_>> {
    if !payload.starts_with(GZIP) {
        return unpack_inner(Cow::Borrowed(payload), limit);
    }
    match gunzip(payload, limit)? {
        Some(inner) => unpack_inner(Cow::Owned(inner), limit),
        None => Ok(UnpackedPayload::Broken),
    }
}

fn unpack_inner(bytes: Cow<'_, [u8]>, limit: usize) -> Result<UnpackedPayload<'_>> {
    if bytes.starts_with(ZIP) { unzip(&bytes, limit) } else { Ok(UnpackedPayload::Document(bytes)) }
}

fn gunzip(payload: &[u8], limit: usize) -> Result<Option<Vec<u8>>> {
    let (mut all, mut rest) = (Vec::new(), payload);
    for _ in 0..MAX_GZIP_MEMBERS {
        let mut member = GzDecoder::new(rest);
        if !read_bounded(&mut member, &mut all, limit)? {
            return Ok(None);
        }
        rest = member.into_inner();
        // Some writers pad the file with NULs after the last member.
        let padding = rest.iter().take_while(|byte| **byte == 0).count();
        rest = rest.get(padding..).unwrap_or_default();
        if !rest.starts_with(GZIP) {
            return Ok(Some(all));
        }
    }
    Ok(None)
}

fn unzip(bytes: &[u8], limit: usize) -> Result<UnpackedPayload<'static>> {
    let Ok(mut archive) = ZipArchive::new(Cursor::new(bytes)) else {
        return Ok(UnpackedPayload::Broken);
    };
    let names: Vec<String> =
        (0..archive.len()).map(|i| base_name(archive.name_for_index(i))).collect();
    let stream = |word: &str| names.iter().position(|name| is_stream(name, word));
    let (stdout, stderr) = (stream("stdout"), stream("stderr"));
    if stdout.is_some() || stderr.is_some() {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let complete = read_entry(&mut archive, stdout, &mut out, limit)?
            && read_entry(&mut archive, stderr, &mut errors, limit.saturating_sub(out.len()))?;
        return Ok(if complete {
            UnpackedPayload::Streams { stdout: out, stderr: errors }
        } else {
            UnpackedPayload::Broken
        });
    }
    // The document must be unambiguous: the only file, or the only one with the extension .json.
    let mut documents =
        names.iter().enumerate().filter(|(_, name)| names.len() == 1 || name.ends_with(".json"));
    let (Some((index, _)), None) = (documents.next(), documents.next()) else {
        return Ok(UnpackedPayload::Broken);
    };
    let mut document = Vec::new();
    let complete = read_entry(&mut archive, Some(index), &mut document, limit)?;
    Ok(if complete {
        UnpackedPayload::Document(Cow::Owned(document))
    } else {
        UnpackedPayload::Broken
    })
}

fn base_name(name: Option<&str>) -> String {
    let name = name.unwrap_or_default();
    name.rsplit(['/', '\\']).next().unwrap_or_default().to_ascii_lowercase()
}

fn is_stream(name: &str, word: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', '.']))
}

/// Reads an entry, if there is one, and returns whether that succeeded.
fn read_entry(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: Option<usize>,
    into: &mut Vec<u8>,
    limit: usize,
) -> Result<bool> {
    let Some(index) = index else { return Ok(true) };
    match archive.by_index(index) {
        Ok(mut file) => read_bounded(&mut file, into, limit),
        Err(_) => Ok(false),
    }
}

/// Reads all of `from`, checksum included, and returns whether that succeeded. More than `limit`
/// bytes in `into` are an error.
fn read_bounded(from: &mut impl Read, into: &mut Vec<u8>, limit: usize) -> Result<bool> {
    // One byte more than allowed, to detect that there is more.
    let room = limit.saturating_sub(into.len()) as u64;
    let read = from.take(room.saturating_add(1)).read_to_end(into);
    if into.len() > limit {
        return Err(too_large(limit));
    }
    Ok(read.is_ok())
}

fn too_large(limit: usize) -> Error {
    Error::new(
        Kind::Download,
        format!("the script's transcript unpacks to more than {limit} bytes"),
    )
    .with_hint(
        "the machine may be hostile; if the script writes so much, let it write to a file and \
         collect the file",
    )
}

/// Decodes text by its byte order mark, or else as UTF-8. Invalid bytes are replaced.
pub fn decode_text(bytes: &[u8]) -> String {
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        // A JSON object in UTF-16 without a byte order mark.
        [b'{', 0, ..] => utf16(bytes, u16::from_le_bytes),
        [0, b'{', ..] => utf16(bytes, u16::from_be_bytes),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let units = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(unit);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
