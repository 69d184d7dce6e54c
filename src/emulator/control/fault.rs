//! The kinds of faults that the emulator can inject, and their details.

use std::collections::BTreeMap;

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
}

/// A fault and its details. Each detail has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// For `Status`. The default is 503.
    pub status: u16,
    /// For `Status`. The default is empty.
    pub body: String,
    /// For `Status`. The default is none.
    pub headers: BTreeMap<String, String>,
    /// For `Status`: whether the request takes effect first, as behind a gateway's 503
    /// (docs/service.md, section 18). The default is false.
    pub acts: bool,
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
            headers: BTreeMap::new(),
            acts: false,
            seconds: 1.0,
            keep: None,
        }
    }
}

impl Fault {
    /// Returns a fault with default details.
    pub fn new(kind: FaultKind) -> Self {
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

    /// Reads a fault from a JSON object of its fields.
    ///
    /// # Errors
    ///
    /// Returns an error if a detail is unknown, is not valid, or does not belong to the kind.
    pub fn from_json(text: &str) -> Result<Self> {
        let fault: Self = json_options::parse("fault detail", text, bounds)?;
        // `parse` accepts the details of every kind. One that has no effect is a mistake in the
        // test.
        let given: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
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
            Self::Status => &["status", "body", "headers", "acts"],
            Self::Delay => &["seconds"],
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
        "keep" => (value.is_u64() || value.is_null(), "a number of bytes, 0 or more"),
        _ => return None,
    };
    (!fits).then_some(wanted)
}
