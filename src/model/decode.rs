//! Decodes responses to typed entities. Errors name the JSON path.
//!
//! Of a record only its id is needed: see [`super::lenient`].

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::lenient;
use crate::error::{Error, Kind, Result};

/// The JSON of an entity, as received.
pub type Raw = Arc<str>;

/// An entity of the service, such as a machine.
pub trait Entity: DeserializeOwned {
    /// Keeps the JSON from which the entity was decoded.
    fn set_raw(&mut self, raw: Raw);

    /// Returns what identifies the entity: its id, or the name of a library file.
    fn id(&self) -> &str;
}

/// The most records of one page. The service sends at most 10,000 (page "api-odata").
const MAX_PAGE_ITEMS: usize = 50_000;
/// The longest id. The service's own have 40 characters, names of library files some more.
const MAX_ID_LENGTH: usize = 1024;

/// One page of a list.
#[derive(Debug)]
pub struct Page<T> {
    pub value: Vec<T>,
    /// URL of the next page, to be requested unchanged.
    pub next_link: Option<String>,
    /// The records that were skipped, because they have no usable id.
    pub skipped: Vec<Raw>,
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(borrow, deserialize_with = "page_items")]
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
    let (mut value, mut skipped) = (Vec::with_capacity(raw.value.len()), Vec::new());
    for (i, item) in raw.value.iter().enumerate() {
        match decode_entity_at(item.get(), &format!("value[{i}]")) {
            Ok(entity) => value.push(entity),
            // One odd record must not hide the others.
            Err(_) => skipped.push(item.get().into()),
        }
    }
    Ok(Page { value, next_link: raw.next_link, skipped })
}

fn decode_entity_at<T: Entity>(text: &str, at: &str) -> Result<T> {
    let mut entity: T = match decode(text, at) {
        Ok(entity) => entity,
        // A record may have a name twice, or in two spellings.
        Err(error) => lenient::without_duplicates(text)
            .and_then(|text| serde_json::from_str(&text).ok())
            .ok_or(error)?,
    };
    let id = entity.id();
    if id.trim().is_empty() || id.len() > MAX_ID_LENGTH || id.chars().any(char::is_control) {
        let at = if at.is_empty() { "the body" } else { at };
        return Err(unexpected_response(&format!("{at}: the id is not usable")));
    }
    entity.set_raw(text.into());
    Ok(entity)
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

/// Decodes `text`, which has the JSON path `at` in the body.
fn decode<'de, T: Deserialize<'de>>(text: &'de str, at: &str) -> Result<T> {
    // serde would decode a struct from an array too, and its error would quote a string.
    let found = match text.trim_start().chars().next() {
        Some('[') => Some("an array"),
        Some('"') => Some("a string"),
        _ => None,
    };
    if let Some(found) = found {
        let at = if at.is_empty() { "the body" } else { at };
        return Err(unexpected_response(&format!("{at}: {found}, not an object")));
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

pub(super) fn empty_raw() -> Raw {
    Raw::from("{}")
}
