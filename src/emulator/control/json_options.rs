//! Reads switches and fault details from JSON, with an error that names the valid values.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::emulator::clock::MAX_SECONDS;
use crate::error::{Error, Result};

/// The page that lists what there is.
pub(super) const PAGE: &str =
    "see https://github.com/mde-live-response/mde-live-response/blob/main/docs/emulator.md";

/// Returns what a value must be, if it breaks a rule that its type does not express.
pub type Bounds = fn(name: &str, value: &Value) -> Option<&'static str>;

/// Parses a JSON object of options. Options that it lacks keep their defaults. `what` names the
/// kind of option in errors.
pub fn parse<T>(what: &str, text: &str, bounds: Bounds) -> Result<T>
where
    T: Default + Serialize + DeserializeOwned,
{
    let Ok(Value::Object(given)) = serde_json::from_str(text) else {
        return Err(Error::invalid(format!("{what}: expected a mapping of names to values")));
    };
    let Ok(Value::Object(mut all)) = serde_json::to_value(T::default()) else {
        return Err(Error::invalid(format!("{what}: the defaults are not a JSON object")));
    };
    for (name, value) in given {
        let Some(default) = all.get(&name) else {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!(
                "there is no {what} {name:?}; valid names are {}",
                known.join(", ")
            )));
        };
        // Each check is made here, because the messages of serde name Rust types and JSON
        // positions.
        let expected =
            bounds(&name, &value).map(str::to_owned).or_else(|| expected_type(default, &value));
        if let Some(expected) = expected.or_else(|| expected_choice::<T>(&all, &name, &value)) {
            return Err(Error::invalid(format!("{what} {name} is {value}; it must be {expected}")));
        }
        all.insert(name, value);
    }
    serde_json::from_value(Value::Object(all))
        .map_err(|error| Error::invalid(format!("{what}: {error}")))
}

/// Returns what a value must be, if it does not have the type of the default.
fn expected_type(default: &Value, value: &Value) -> Option<String> {
    let seconds =
        |value: &Value| value.as_f64().is_some_and(|number| (0.0..=MAX_SECONDS).contains(&number));
    let (valid, expected) = match default {
        Value::Bool(_) => (value.is_boolean(), "true or false".to_owned()),
        Value::Number(number) if number.is_f64() => {
            (seconds(value), format!("a number between 0 and {MAX_SECONDS}"))
        }
        Value::Number(_) => (value.is_u64(), "a whole number, 0 or more".to_owned()),
        Value::Array(_) => (value.is_array(), "a list of strings".to_owned()),
        Value::Object(_) => {
            let strings =
                value.as_object().is_some_and(|entries| entries.values().all(Value::is_string));
            (strings, "a mapping of names to strings".to_owned())
        }
        Value::String(_) | Value::Null => return None,
    };
    (!valid).then_some(expected)
}

/// Returns the valid words, if the option is an enum and `value` is none of them.
fn expected_choice<T: DeserializeOwned>(
    all: &Map<String, Value>,
    name: &str,
    value: &Value,
) -> Option<String> {
    let parse_with = |value: Value| {
        let mut changed = all.clone();
        changed.insert(name.to_owned(), value);
        serde_json::from_value::<T>(Value::Object(changed))
    };
    parse_with(value.clone()).err()?;
    // serde lists the valid words only for an unknown word, not for a value of another type. So the
    // list is taken from the error for an empty word.
    let probe = if value.is_array() { Value::from([""]) } else { Value::from("") };
    let Err(error) = parse_with(probe) else { return Some("a string".to_owned()) };
    let error = error.to_string();
    let words = error.split_once("expected ").map_or("a valid value", |(_, words)| words);
    Some(words.replace('`', "'"))
}
