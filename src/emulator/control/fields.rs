//! Reads the keys of one JSON object, with errors that name the key and say what it must be.

use serde_json::{Map, Value};

use crate::emulator::clock::MAX_SECONDS;
use crate::error::{Error, Result};

/// The most characters of a wrong value in an error.
const MAX_SHOWN: usize = 200;

/// The keys of an object that are left to read. `what` names the object in errors.
#[derive(Debug)]
pub struct Fields {
    what: &'static str,
    left: Map<String, Value>,
}

impl Fields {
    /// Returns the fields of an object, or an error if it has a key that is not `known`.
    pub fn new(what: &'static str, given: Map<String, Value>, known: &[&str]) -> Result<Self> {
        if let Some(name) = given.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(Error::invalid(format!(
                "{what} has no key {}; valid keys are {}",
                shown(&Value::from(name.as_str())),
                known.join(", ")
            )));
        }
        Ok(Self { what, left: given })
    }

    /// Returns the error that a key has a wrong value.
    pub fn wrong(&self, name: &str, value: &Value, expected: &str) -> Error {
        let what = self.what;
        Error::invalid(format!("{what} {name} is {}; it must be {expected}", shown(value)))
    }

    /// Returns the error that a key is missing.
    pub fn missing(&self, names: &str) -> Error {
        Error::invalid(format!("{} needs {names}", self.what))
    }

    /// Returns the error that keys exclude each other.
    pub fn only_one_of(&self, names: &str) -> Error {
        Error::invalid(format!("{} has only one of {names}", self.what))
    }

    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    /// Returns what was not read.
    pub fn rest(self) -> Map<String, Value> {
        self.left
    }

    pub fn required_text(&mut self, name: &str) -> Result<String> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(self.wrong(name, &Value::from(""), "a text that is not empty")),
            None => Err(self.missing(name)),
        }
    }

    /// Returns a text. `None` without the key, or if it is null.
    pub fn text(&mut self, name: &str) -> Result<Option<String>> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, &other, "a string")),
        }
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(name, &other, "true or false")),
        }
    }

    pub fn seconds(&mut self, name: &str) -> Result<Option<f64>> {
        let expected = format!("a number between 0 and {MAX_SECONDS}");
        self.number(name, &expected, |number| (0.0..=MAX_SECONDS).contains(&number))
    }

    pub fn number(
        &mut self,
        name: &str,
        expected: &str,
        fits: impl FnOnce(f64) -> bool,
    ) -> Result<Option<f64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_f64() {
            Some(number) if fits(number) => Ok(Some(number)),
            _ => Err(self.wrong(name, &value, expected)),
        }
    }

    pub fn whole(&mut self, name: &str, low: u64, high: u64) -> Result<Option<u64>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match value.as_u64() {
            Some(number) if (low..=high).contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(name, &value, &format!("a whole number, {low} to {high}"))),
        }
    }
}

/// Returns a value as an error shows it: its beginning, if it is long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_SHOWN) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}
