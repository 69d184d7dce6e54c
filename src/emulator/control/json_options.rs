//! Settings by name, as other languages give them: what is wrong with one is told with what there is.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::emulator::clock::MAX_SECONDS;
use crate::error::{Error, Result};

/// What a value has to be that it is not, where its type does not tell.
pub type Bounds = fn(name: &str, value: &Value) -> Option<&'static str>;

/// Reads a JSON object of settings over the defaults.
pub fn parse<T>(what: &str, text: &str, bounds: Bounds) -> Result<T>
where
    T: Default + Serialize + DeserializeOwned,
{
    let Ok(Value::Object(given)) = serde_json::from_str(text) else {
        return Err(Error::invalid(format!("{what}: names with their values are wanted")));
    };
    let Ok(Value::Object(mut all)) = serde_json::to_value(T::default()) else {
        return Err(Error::invalid(format!("{what}: no names are known")));
    };
    for (name, value) in given {
        let Some(default) = all.get(&name) else {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            return Err(Error::invalid(format!(
                "there is no {what} {name:?}; there are {}",
                known.join(", ")
            )));
        };
        let wanted =
            bounds(&name, &value).map(str::to_owned).or_else(|| expected_value(default, &value));
        if let Some(wanted) = wanted.or_else(|| expected_choice::<T>(&all, &name, &value)) {
            return Err(Error::invalid(format!("{what} {name} is {value}; it has to be {wanted}")));
        }
        all.insert(name, value);
    }
    serde_json::from_value(Value::Object(all))
        .map_err(|error| Error::invalid(format!("{what}: {error}")))
}

/// What a value has to be for its default's type.
fn expected_value(default: &Value, value: &Value) -> Option<String> {
    let seconds =
        |value: &Value| value.as_f64().is_some_and(|number| (0.0..=MAX_SECONDS).contains(&number));
    let (fits, wanted) = match default {
        Value::Bool(_) => (value.is_boolean(), "true or false".to_owned()),
        Value::Number(number) if number.is_f64() => {
            (seconds(value), format!("a number between 0 and {MAX_SECONDS}"))
        }
        Value::Number(_) => (value.is_u64(), "a whole number, 0 or more".to_owned()),
        Value::Array(_) => (value.is_array(), "a list of words".to_owned()),
        Value::Object(_) => {
            let texts =
                value.as_object().is_some_and(|entries| entries.values().all(Value::is_string));
            (texts, "names with their texts".to_owned())
        }
        Value::String(_) | Value::Null => return None,
    };
    (!fits).then_some(wanted)
}

/// The words of which a value has to be one, where it is none of them.
fn expected_choice<T: DeserializeOwned>(
    all: &Map<String, Value>,
    name: &str,
    value: &Value,
) -> Option<String> {
    let with = |value: Value| {
        let mut changed = all.clone();
        changed.insert(name.to_owned(), value);
        serde_json::from_value::<T>(Value::Object(changed))
    };
    with(value.clone()).err()?;
    // A word that is none brings out those that are; a value of another type does not.
    let asked = if value.is_array() { Value::from([""]) } else { Value::from("") };
    let Err(error) = with(asked) else { return Some("a text".to_owned()) };
    let error = error.to_string();
    let words = error.split_once("expected ").map_or("another", |(_, words)| words);
    Some(words.replace('`', "'"))
}
