//! A record of the service: one entity, decoded from its JSON.
//!
//! Of a record only its id is needed: see [`super::lenient`].

use std::sync::Arc;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::lenient;

/// The JSON of an entity, as received.
pub type Raw = Arc<str>;

/// An entity of the service, such as a machine.
pub trait Entity: DeserializeOwned {
    /// The fields without which a record cannot be used. Only read to say what is wrong with one.
    type Needed: DeserializeOwned;

    /// Keeps the JSON from which the entity was decoded.
    fn set_raw(&mut self, raw: Raw);

    /// Returns what identifies the entity: its id, or the name of a library file.
    fn id(&self) -> &str;
}

/// The longest id. The service's own have 40 characters, names of library files some more.
const MAX_ID_LENGTH: usize = 1024;

/// What most records need.
#[derive(Deserialize)]
pub struct NeededId {
    #[serde(rename = "id")]
    _id: String,
}

/// Why a record cannot be used.
pub(super) enum UnusableRecord {
    Json,
    Id,
}

/// Decodes the record in `text`.
pub(super) fn read_entity<T: Entity>(text: &str) -> Result<T, UnusableRecord> {
    // serde would decode a struct from an array too.
    if !text.trim_start().starts_with('{') {
        return Err(UnusableRecord::Json);
    }
    let entity = serde_json::from_str(text).ok();
    // A record may have a name twice, or in two spellings.
    let entity = entity.or_else(|| serde_json::from_str(&lenient::without_duplicates(text)?).ok());
    finish_entity(entity.ok_or(UnusableRecord::Json)?, text)
}

/// Checks the id of a record that was decoded from `text`.
pub(super) fn finish_entity<T: Entity>(mut entity: T, text: &str) -> Result<T, UnusableRecord> {
    let id = entity.id();
    if id.trim().is_empty() || id.len() > MAX_ID_LENGTH || id.chars().any(char::is_control) {
        return Err(UnusableRecord::Id);
    }
    entity.set_raw(text.into());
    Ok(entity)
}

pub(super) fn empty_raw() -> Raw {
    Raw::from("{}")
}
