//! Reads the JSON body of a request (docs/service.md, section 3.3).

use std::fmt;
use std::marker::PhantomData;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::emulator::state::State;
use crate::emulator::wire::reply::ApiError;
use crate::emulator::wire::request::IncomingRequest;

/// A struct that is read only from a JSON object. Serde alone would also read it from a list.
pub struct JsonObject<T>(pub T);

struct JsonObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(JsonObjectVisitor(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for JsonObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

impl State {
    /// Parses the JSON object in a request's body.
    pub fn read_body<T: for<'de> Deserialize<'de>>(
        &self,
        request: &IncomingRequest,
    ) -> Result<T, ApiError> {
        check_content_type(&request.headers)?;
        let invalid = |error: serde_json::Error| {
            ApiError::bad_request(
                "InvalidRequestBody",
                format!("Request body is incorrect: {error}"),
            )
        };
        if self.switches.case_sensitive_bodies {
            return serde_json::from_slice(&request.body)
                .map(|JsonObject(body)| body)
                .map_err(invalid);
        }
        let value: Value = serde_json::from_slice(&request.body).map_err(invalid)?;
        serde_json::from_value(normalize_key_case(value))
            .map(|JsonObject(body)| body)
            .map_err(invalid)
    }
}

/// Returns an error if the body is not declared as JSON.
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = given.split(';').next().unwrap_or("").trim();
    if kind.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "InvalidRequestBody",
        format!("The content type '{given}' is not application/json."),
    ))
}

/// Returns a body with its keys in the case of the schema. Used if the switch says that the service
/// ignores the case of keys.
fn normalize_key_case(value: Value) -> Value {
    const KEYS: [&str; 9] = [
        "Commands",
        "Comment",
        "ExternalId",
        "RequestSource",
        "Title",
        "type",
        "params",
        "key",
        "value",
    ];
    match value {
        Value::Object(map) => {
            let known = |key: String| {
                KEYS.iter().find(|k| k.eq_ignore_ascii_case(&key)).map_or(key, |k| (*k).to_owned())
            };
            Value::Object(
                map.into_iter()
                    .map(|(key, value)| (known(key), normalize_key_case(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(normalize_key_case).collect()),
        other => other,
    }
}
