//! JSON bodies of requests: what they have to be, and whose capitals count (facts.md, section 3.3).

use std::fmt;
use std::marker::PhantomData;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::reply::Refusal;
use super::state::{Call, State};

/// A JSON object. serde takes a list for a struct too, by the order of its fields.
pub(super) struct Object<T>(pub T);

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl State {
    /// The object that a call's body is.
    pub fn read_body<T: for<'de> Deserialize<'de>>(&self, call: &Call) -> Result<T, Refusal> {
        check_content_type(&call.headers)?;
        let wrong = |error: serde_json::Error| {
            Refusal::bad_request("InvalidRequestBody", format!("Request body is incorrect: {error}"))
        };
        if self.switches.case_sensitive_bodies {
            return serde_json::from_slice(&call.body).map(|Object(body)| body).map_err(wrong);
        }
        let value: Value = serde_json::from_slice(&call.body).map_err(wrong)?;
        serde_json::from_value(with_right_capitals(value)).map(|Object(body)| body).map_err(wrong)
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = given.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::bad_request("InvalidRequestBody", format!("The content type '{given}' is not application/json.")))
}

/// The keys of a body in the capitals of the schema, for a service that minds none.
fn with_right_capitals(value: Value) -> Value {
    const KEYS: [&str; 9] =
        ["Commands", "Comment", "ExternalId", "RequestSource", "Title", "type", "params", "key", "value"];
    match value {
        Value::Object(map) => {
            let right =
                |key: String| KEYS.iter().find(|k| k.eq_ignore_ascii_case(&key)).map_or(key, |k| (*k).to_owned());
            Value::Object(map.into_iter().map(|(key, value)| (right(key), with_right_capitals(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(with_right_capitals).collect()),
        other => other,
    }
}
