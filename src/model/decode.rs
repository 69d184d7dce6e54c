//! Decodes responses to typed entities. Errors name the JSON path.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::{Error, Kind, Result};

/// The JSON of an entity, as received.
pub type Raw = Arc<str>;

/// An entity of the service, such as a machine.
pub trait Entity: DeserializeOwned {
    /// Keeps the JSON from which the entity was decoded.
    fn set_raw(&mut self, raw: Raw);
}

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub value: Vec<T>,
    /// URL of the next page, to be requested unchanged.
    pub next_link: Option<String>,
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow)]
    value: Vec<&'a RawValue>,
    #[serde(rename = "@odata.nextLink")]
    next_link: Option<String>,
}

/// Decodes one entity.
pub fn decode_entity<T: Entity>(body: &[u8]) -> Result<T> {
    decode_entity_at(body_text(body)?, "")
}

/// Decodes one page of a list.
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

/// Decodes `text`, which has the JSON path `at` in the body.
fn decode<'de, T: Deserialize<'de>>(text: &'de str, at: &str) -> Result<T> {
    // serde would decode a struct from an array too.
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

/// Decodes a list. A null or missing list is empty, and null items are skipped.
pub(super) fn null_as_empty<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    // The service sends both null lists and null items.
    let items: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(items.unwrap_or_default().into_iter().flatten().collect())
}

pub(super) fn empty_raw() -> Raw {
    Raw::from("{}")
}
