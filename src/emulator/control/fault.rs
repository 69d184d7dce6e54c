//! The kinds of faults that the emulator can inject, and their details.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::emulator::control::json_options;
use crate::error::{Error, Result};

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The response has the given status, body and headers. The request has no effect unless `acts`
    /// is set.
    Status,
    /// The connection breaks after the request was read. The request has no effect.
    DropBefore,
    /// The connection breaks before the request was read. In process, this counts as not sent.
    DropUnread,
    /// The request takes effect, then the connection breaks.
    DropAfter,
    /// The response is late.
    Delay,
    /// The connection breaks within the response's body.
    Truncate,
    /// Some bytes of the response's body are wrong.
    Garble,
    /// The token of the call becomes invalid.
    ExpireToken,
    /// The request takes effect, and the response has another entity of its kind: another action,
    /// or another machine.
    WrongEntity,
    /// The response is a page that is no result, such as a proxy's sign-in page. The request has no
    /// effect unless `acts` is set.
    Page,
}

/// What a proxy answers to a client that has not signed in to it.
const SIGN_IN_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\
    <body><h1>Sign in to continue</h1><form action=\"https://proxy.example.test/login\" \
    method=\"post\"><input name=\"user\"><input name=\"password\" type=\"password\">\
    </form></body></html>\n";

/// A fault and its details. Each detail has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// For `Status`, where the default is 503, and `Page`, where it is 200.
    pub status: u16,
    /// For `Status`, where the default is empty, and `Page`, where it is a proxy's sign-in page.
    pub body: String,
    /// The body in base64, for one that is not text. It takes precedence.
    pub body_base64: Option<String>,
    /// For `Status` and `Page`. The default is none.
    pub headers: BTreeMap<String, String>,
    /// For `Page`. The default is `text/html`.
    pub content_type: Option<String>,
    /// For `Status`: the code of an error of the API, which is the body. The default is none.
    pub code: Option<String>,
    /// For `Status`: the code of an error of Azure Storage, which is the body. The default is none.
    pub x_ms_error_code: Option<String>,
    /// For `Status`, `Page` and `Delay`: whether the request takes effect first, as behind a
    /// gateway's 503 (docs/service.md, section 18). The default is false.
    pub acts: bool,
    /// For `WrongEntity`: the id of the other entity. The default is any other one, if possible of
    /// another machine.
    pub entity: Option<String>,
    /// For `Delay`, in seconds of wall time. The default is 1.
    pub seconds: f64,
    /// For `Truncate`: how many bytes of the body are sent. The default is half of them.
    pub keep: Option<usize>,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            kind: FaultKind::Status,
            status: 503,
            body: String::new(),
            body_base64: None,
            headers: BTreeMap::new(),
            content_type: None,
            code: None,
            x_ms_error_code: None,
            acts: false,
            entity: None,
            seconds: 1.0,
            keep: None,
        }
    }
}

impl Fault {
    /// Returns a fault with default details.
    pub fn new(kind: FaultKind) -> Self {
        if kind == FaultKind::Page {
            return Self { kind, status: 200, body: SIGN_IN_PAGE.to_owned(), ..Self::default() };
        }
        Self { kind, ..Self::default() }
    }

    /// Returns a response with this status and no body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Returns a delay of the response.
    pub fn delay(seconds: f64) -> Self {
        Self { kind: FaultKind::Delay, seconds, ..Self::default() }
    }

    /// Returns the kind, and the details that differ from the defaults.
    pub fn describe(&self) -> Map<String, Value> {
        let all = |fault: &Self| match serde_json::to_value(fault) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        let (mut fields, defaults) = (all(self), all(&Self::new(self.kind)));
        fields.retain(|name, value| name == "kind" || defaults.get(name) != Some(value));
        fields
    }

    /// Reads a fault from a JSON object of its fields.
    ///
    /// # Errors
    ///
    /// Returns an error if a detail is unknown, is not valid, or does not belong to the kind.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut fault: Self = json_options::parse("fault detail", text, bounds)?;
        // `parse` accepts the details of every kind. One that has no effect is a mistake in the
        // test.
        let given: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
        let defaults = Self::new(fault.kind);
        if !given.contains_key("status") {
            fault.status = defaults.status;
        }
        if !given.contains_key("body") {
            fault.body = defaults.body;
        }
        let known = fault.kind.details();
        let Some(other) =
            given.keys().find(|name| *name != "kind" && !known.contains(&name.as_str()))
        else {
            return Ok(fault);
        };
        let kind = given.get("kind").and_then(Value::as_str).unwrap_or("status");
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Err(Error::invalid(format!(
            "a fault of kind {kind} has no detail {other:?}; it has {known}"
        )))
    }
}

impl FaultKind {
    /// Returns the details that this kind has.
    fn details(self) -> &'static [&'static str] {
        match self {
            Self::Status => &[
                "status",
                "body",
                "body_base64",
                "headers",
                "content_type",
                "code",
                "x_ms_error_code",
                "acts",
            ],
            Self::Page => &["status", "body", "body_base64", "headers", "content_type", "acts"],
            Self::Delay => &["seconds", "acts"],
            Self::WrongEntity => &["entity"],
            Self::Truncate => &["keep"],
            Self::DropBefore
            | Self::DropUnread
            | Self::DropAfter
            | Self::Garble
            | Self::ExpireToken => &[],
        }
    }
}

/// Returns what a detail's value must be if it is out of bounds.
fn bounds(name: &str, value: &Value) -> Option<&'static str> {
    let (fits, wanted) = match name {
        "status" => {
            (value.as_u64().is_some_and(|s| (200..=599).contains(&s)), "an HTTP status, 200 to 599")
        }
        "body_base64" => {
            let decoded = value.as_str().map(|text| STANDARD.decode(text).is_ok());
            (value.is_null() || decoded == Some(true), "base64")
        }
        "keep" => (value.is_u64() || value.is_null(), "a number of bytes, 0 or more"),
        _ => return None,
    };
    (!fits).then_some(wanted)
}
