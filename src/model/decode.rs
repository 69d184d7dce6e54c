//! From bytes to typed entities; what does not fit is named by its JSON path.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};

/// An entity's JSON as it came.
pub type Raw = Arc<str>;

/// One thing that the service describes.
pub trait Entity: DeserializeOwned {
    /// Keeps the text that the entity was read from.
    fn set_raw(&mut self, raw: Raw);
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub value: Vec<T>,
    /// Opaque: to be followed as it is.
    pub next_link: Option<String>,
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    value: Vec<&'a RawValue>,
    #[serde(rename = "@odata.nextLink")]
    next_link: Option<String>,
}

pub fn decode_entity<T: Entity>(body: &[u8]) -> Result<T> {
    decode_entity_at(body_text(body)?, "")
}

pub fn decode_page<T: Entity>(body: &[u8]) -> Result<Page<T>> {
    let raw: RawPage<'_> = decode(body_text(body)?, "")?;
    let items = raw.value.iter().enumerate();
    let value = items
        .map(|(i, item)| decode_entity_at(item.get(), &format!("value[{i}]")))
        .collect::<Result<_>>()?;
    Ok(Page { value, next_link: raw.next_link })
}

fn decode_entity_at<T: Entity>(text: &str, at: &str) -> Result<T> {
    let mut entity: T = decode(text, at)?;
    entity.set_raw(text.into());
    Ok(entity)
}

fn body_text(body: &[u8]) -> Result<&str> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(unexpected_response("the body is empty"));
    }
    std::str::from_utf8(body)
        .map_err(|error| unexpected_response(&format!("the body is not UTF-8: {error}")))
}

/// Reads `text` as a `T`; an error says where by JSON path, `at` being the path of `text` itself.
fn decode<'de, T: Deserialize<'de>>(text: &'de str, at: &str) -> Result<T> {
    // serde reads a struct from an array too.
    if text.trim_start().starts_with('[') {
        return Err(unexpected_response(&format!(
            "{}: an array, not an object",
            if at.is_empty() { "the body" } else { at }
        )));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let inner = error.path().to_string();
        let path = match (at, inner.as_str()) {
            ("", ".") => "the body".to_owned(),
            ("", _) => inner,
            (_, ".") => at.to_owned(),
            _ => format!("{at}.{inner}"),
        };
        unexpected_response(&format!("{path}: {}", error.inner()))
    })?;
    deserializer.end().map_err(|error| unexpected_response(&format!("the body: {error}")))?;
    Ok(value)
}

fn unexpected_response(what: &str) -> Error {
    Error::new(Kind::Service, format!("the service's answer is not what it documents: {what}"))
        .with_hint(
            "try again; if it stays so, a gateway or proxy may be answering in the service's place",
        )
}

/// A null or missing list is an empty one, and a null within it is left out: the service sends both.
pub(super) fn null_as_empty<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    let items: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(items.unwrap_or_default().into_iter().flatten().collect())
}

pub(super) fn empty_raw() -> Raw {
    Raw::from("{}")
}
