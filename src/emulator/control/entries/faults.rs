//! Faults, sessions of other callers and properties, as entries.

use serde_json::{Map, Value, json};

use crate::emulator::ForeignSessionResponse;
use crate::emulator::control::fault::Fault;
use crate::emulator::control::fields::Fields;
use crate::error::Result;

/// A fault: the parameters of `fault`, its details included.
#[derive(Clone, Debug)]
pub struct FaultEntry {
    pub method: String,
    pub path: String,
    pub fault: Fault,
    pub nth: u32,
    pub times: u32,
}

impl FaultEntry {
    pub fn parse(mut given: Map<String, Value>) -> Result<Self> {
        // What is left is the fault itself, which knows its own keys.
        let own = ["method", "path", "nth", "times"];
        let of_the_rule =
            own.into_iter().filter_map(|name| Some((name.to_owned(), given.remove(name)?)));
        let mut fields = Fields::new("fault", of_the_rule.collect(), &own)?;
        let method = fields.text("method")?.unwrap_or_else(|| "*".to_owned());
        let path = fields.required_text("path")?;
        let count = |number: Option<u64>| number.and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
        let nth = count(fields.whole("nth", 1, u64::from(u32::MAX))?);
        let times = count(fields.whole("times", 1, u64::from(u32::MAX))?);
        if !given.contains_key("kind") {
            return Err(fields.missing("kind, such as status or drop_after"));
        }
        // As in Python, a body may be given as what its JSON says.
        if let Some(body) = given.get_mut("body").filter(|body| body.is_object() || body.is_array())
        {
            *body = Value::from(body.to_string());
        }
        let fault = Fault::from_json(&Value::Object(given).to_string())?;
        Ok(Self { method, path, fault, nth, times })
    }
}

/// A session of another caller: the parameters of `add_foreign_session`.
#[derive(Clone, Debug)]
pub struct ForeignSessionEntry {
    pub machine: String,
    pub seconds: f64,
    pub listed: bool,
    pub answer: ForeignSessionResponse,
}

impl ForeignSessionEntry {
    pub fn parse(given: Map<String, Value>) -> Result<Self> {
        let known = ["machine", "seconds", "listed", "answer"];
        let mut fields = Fields::new("foreign session", given, &known)?;
        let machine = fields.required_text("machine")?;
        let Some(seconds) = fields.seconds("seconds")? else {
            return Err(fields.missing("seconds"));
        };
        let listed = fields.flag("listed")?.unwrap_or(true);
        let answer = match fields.take("answer") {
            None => ForeignSessionResponse::Error,
            Some(word) => match word.as_str() {
                Some("error") => ForeignSessionResponse::Error,
                Some("foreign") => ForeignSessionResponse::Foreign,
                _ => return Err(fields.wrong("answer", &word, "'error' or 'foreign'")),
            },
        };
        Ok(Self { machine, seconds, listed, answer })
    }

    /// Returns the entry of a session that lasts for `seconds` more.
    pub fn describe(machine: &str, seconds: f64, listed: bool, foreign: bool) -> Value {
        let answer = if foreign { "foreign" } else { "error" };
        json!({ "machine": machine, "seconds": seconds, "listed": listed, "answer": answer })
    }
}

/// A property that the API shows: the parameters of `set_property`.
#[derive(Clone, Debug)]
pub struct PropertyEntry {
    pub entity: String,
    pub name: String,
    /// `None` leaves the property out.
    pub value: Option<Value>,
}

impl PropertyEntry {
    pub fn parse(given: Map<String, Value>) -> Result<Self> {
        let known = ["entity", "name", "value", "left_out"];
        let mut fields = Fields::new("property", given, &known)?;
        let entity = fields.required_text("entity")?;
        let name = fields.required_text("name")?;
        let value = fields.take("value");
        let left_out = fields.flag("left_out")?.unwrap_or(false);
        if left_out == value.is_some() {
            return Err(fields.missing("value, which may be null, or left_out: true"));
        }
        Ok(Self { entity, name, value })
    }

    /// Returns the entry of a property.
    pub fn describe(entity: &str, name: &str, value: Option<&Value>) -> Value {
        match value {
            Some(value) => json!({ "entity": entity, "name": name, "value": value }),
            None => json!({ "entity": entity, "name": name, "left_out": true }),
        }
    }
}
