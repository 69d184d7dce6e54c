//! Reads the fields of a record, whatever the service sends in them.
//!
//! A field that is missing, null, empty or of another type gets its default. The record's JSON
//! keeps the original (docs/service.md, section 3.3).

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The most entries of a list inside a record that are read.
const MAX_LIST_ITEMS: usize = 10_000;

/// The value of a field.
pub(super) trait Field: DeserializeOwned {
    /// Reads the value from its JSON, which is well-formed.
    fn read(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

impl Field for bool {}
impl Field for i64 {}
impl Field for u32 {}

impl Field for String {
    fn read(json: &str) -> Option<Self> {
        match plain_string(json) {
            Some(text) => Some(text.to_owned()),
            None => serde_json::from_str(json).ok(),
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn read(json: &str) -> Option<Self> {
        if json == "null" { Some(None) } else { T::read(json).map(Some) }
    }
}

/// Returns the text of a JSON string that needs no decoding.
pub(super) fn plain_string(json: &str) -> Option<&str> {
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('\\')).then_some(text)
}

/// Reads a field. One that cannot be read gets its default.
pub(super) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Field + Default,
    D: Deserializer<'de>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(T::read(raw.get()).unwrap_or_default())
}

/// Reads a list. Entries that cannot be read are left out; no list at all is an empty one.
pub(super) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Field,
    D: Deserializer<'de>,
{
    let items = raw_list(deserializer)?;
    Ok(items.iter().filter_map(|item| T::read(item.get())).collect())
}

/// Reads a list, but not its entries.
pub(super) fn raw_list<'de, D>(deserializer: D) -> Result<Vec<&'de RawValue>, D::Error>
where
    D: Deserializer<'de>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    let mut items: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
    items.truncate(MAX_LIST_ITEMS);
    Ok(items)
}

/// Decodes a list. A null or missing list is empty, and null items are skipped.
pub(super) fn null_as_empty<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    // The service sends both null lists and null items.
    let items: Option<Vec<Option<T>>> = Option::deserialize(deserializer)?;
    Ok(items.unwrap_or_default().into_iter().flatten().collect())
}

/// Returns the JSON object `text` with one member for each name. Names that differ in case or
/// underscores only are one name. Null loses against a value, and an earlier value against a later
/// one.
pub(super) fn without_duplicates(text: &str) -> Option<String> {
    let mut kept: BTreeMap<String, (String, &RawValue)> = BTreeMap::new();
    for (name, value) in members(text)? {
        let spelling = name.replace('_', "").to_lowercase();
        if value.get() != "null" || !kept.contains_key(&spelling) {
            kept.insert(spelling, (name, value));
        }
    }
    let object: BTreeMap<_, _> = kept.into_values().collect();
    serde_json::to_string(&object).ok()
}

/// Returns the members of a JSON object in order, duplicates included.
fn members(text: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Members;
    impl<'de> serde::de::Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                all.push((name, value));
            }
            Ok(all)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let all = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok()?;
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_name_wins_and_null_never() {
        let text = r#"{"id":"a","machineId":"m","id":"b","machineid":null,"x":{"x":1}}"#;
        assert_eq!(without_duplicates(text).unwrap(), r#"{"id":"b","machineId":"m","x":{"x":1}}"#);
        assert!(without_duplicates("[1]").is_none());
        assert!(without_duplicates(r#"{"id":"a"} x"#).is_none());
    }
}
