//! Decodes responses to typed entities. Errors name the JSON path.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::page::{MAX_PAGE_ITEMS, Page, PageReader};
use super::record::{Entity, UnusableRecord, read_entity};
use crate::error::{Error, Kind, Result};

/// What a page must be: only read to say what is wrong with one.
#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow, deserialize_with = "page_items")]
    value: Vec<&'a RawValue>,
    #[serde(rename = "@odata.nextLink")]
    next_link: Option<String>,
}

/// Decodes one entity.
pub fn decode_entity<T: Entity>(body: &[u8]) -> Result<T> {
    let text = body_text(body)?;
    match read_entity(text) {
        Ok(entity) => Ok(entity),
        Err(UnusableRecord::Id) => Err(unexpected_response("the body: the id is not usable")),
        Err(UnusableRecord::Json) => Err(explain::<T::Needed>(text)),
    }
}

/// Decodes one page of a list.
pub fn decode_page<T: Entity>(body: &[u8]) -> Result<Page<T>> {
    let text = body_text(body)?;
    if let Some(page) = PageReader::new(text).read() {
        return Ok(page);
    }
    let raw: RawPage<'_> = decode_slowly(text)?;
    let mut page = Page { next_link: raw.next_link, ..Page::default() };
    for item in raw.value {
        page.add(item.get());
    }
    Ok(page)
}

/// Reads the records of a page, and refuses a page of more than `MAX_PAGE_ITEMS`.
fn page_items<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<&'de RawValue>, D::Error> {
    struct Items;
    impl<'de> Visitor<'de> for Items {
        type Value = Vec<&'de RawValue>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX_PAGE_ITEMS} records")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                if all.len() == MAX_PAGE_ITEMS {
                    return Err(serde::de::Error::invalid_length(all.len() + 1, &self));
                }
                all.push(item);
            }
            Ok(all)
        }
    }
    deserializer.deserialize_seq(Items)
}

fn body_text(body: &[u8]) -> Result<&str> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(unexpected_response("the body is empty"));
    }
    std::str::from_utf8(body)
        .map_err(|error| unexpected_response(&format!("the body is not UTF-8: {error}")))
}

/// Returns the error of a record that cannot be used.
fn explain<Needed: DeserializeOwned>(text: &str) -> Error {
    let decoded: Result<Needed> = decode_slowly(text);
    let odd = || unexpected_response("the body: a field has two values, or not its type");
    decoded.err().unwrap_or_else(odd)
}

/// Decodes a body. Its error names the JSON path, which costs more than the decoding itself.
fn decode_slowly<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T> {
    // serde would decode a struct from an array too, and its error would quote a string.
    let found = match text.trim_start().chars().next() {
        Some('[') => Some("an array"),
        Some('"') => Some("a string"),
        _ => None,
    };
    if let Some(found) = found {
        return Err(unexpected_response(&format!("the body: {found}, not an object")));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "the body" } else { &path };
        unexpected_response(&format!("{path}: {}", error.inner()))
    })?;
    // Text after the JSON means a damaged or foreign body.
    deserializer.end().map_err(|error| unexpected_response(&format!("the body: {error}")))?;
    Ok(value)
}

fn unexpected_response(what: &str) -> Error {
    Error::new(Kind::Service, format!("the service's response is not as documented: {what}"))
        .with_hint(
            "try again; if the error persists, a gateway or proxy may be answering instead of the \
             service",
        )
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
