//! The content of a file in an entry: `content`, `content_base64`, or in a config `file`.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::emulator::control::fields::Fields;
use crate::emulator::session::action::Content;
use crate::error::{Error, Result};

/// The keys of a content. The last one is only for a config.
pub const KEYS: [&str; 3] = ["content", "content_base64", "file"];

/// Returns the keys of an entry that has a content.
pub fn with_content_keys(own: &[&'static str], folder: Option<&Path>) -> Vec<&'static str> {
    let keys = if folder.is_some() { KEYS.as_slice() } else { KEYS.split_at(2).0 };
    own.iter().chain(keys).copied().collect()
}

/// Reads the content. `None` if the entry has none of the keys.
pub fn take(fields: &mut Fields, folder: Option<&Path>) -> Result<Option<Content>> {
    let text = fields.text("content")?.map(Bytes::from);
    let binary = match fields.text("content_base64")? {
        None => None,
        Some(text) => Some(
            STANDARD
                .decode(&text)
                .map(Bytes::from)
                .map_err(|_| fields.wrong("content_base64", &Value::from(text), "base64"))?,
        ),
    };
    let file = match (fields.text("file")?, folder) {
        (Some(file), Some(folder)) => Some(local_file(&folder.join(file))?),
        _ => None,
    };
    let given = [text.map(Content::Bytes), binary.map(Content::Bytes), file];
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if given.next().is_some() {
        return Err(fields.only_one_of("content, content_base64 and file"));
    }
    Ok(first)
}

/// Returns a local file as a content. It is read when it is needed; a missing one fails now.
fn local_file(path: &Path) -> Result<Content> {
    // The folder of the process may change before the file is read.
    let path = &std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(Content::Path(path.to_owned())),
        Ok(_) => Err(Error::invalid(format!("file {} is not a file", path.display()))),
        Err(error) => {
            Err(Error::invalid(format!("file {} cannot be read: {error}", path.display())))
        }
    }
}

/// Returns the bytes of a content.
pub fn bytes(content: Content) -> Result<Bytes> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Path(path) => std::fs::read(&path).map(Bytes::from).map_err(|error| {
            Error::invalid(format!("file {} cannot be read: {error}", path.display()))
        }),
    }
}

/// Writes a content into an entry.
pub fn put(entry: &mut Map<String, Value>, content: &Content) {
    let (key, value) = match content {
        Content::Path(path) => ("file", json!(path)),
        Content::Bytes(bytes) => match str::from_utf8(bytes) {
            Ok(text) => ("content", json!(text)),
            Err(_) => ("content_base64", json!(STANDARD.encode(bytes))),
        },
    };
    entry.insert(key.to_owned(), value);
}

/// Reads an entry that is only a content: a certificate.
pub fn certificate(given: Map<String, Value>, folder: Option<&Path>) -> Result<Vec<u8>> {
    let mut fields = Fields::new("certificate", given, &with_content_keys(&[], folder))?;
    match take(&mut fields, folder)? {
        Some(content) => Ok(bytes(content)?.to_vec()),
        None => Err(fields.missing("content or content_base64")),
    }
}
