//! The kinds of faults that the emulator can inject, and their details.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::emulator::control::json_options;
use crate::error::{Error, Result};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Any status, body and headers in place of the service's answer; nothing is acted on unless it `acts`.
    Status,
    /// The request is read, then the connection dies; nothing is acted on.
    DropBefore,
    /// The connection dies before the request is read; in process, not a byte was sent.
    DropUnread,
    /// The request is acted on, then the connection dies.
    DropAfter,
    /// The answer is late.
    Delay,
    /// The answer's body is cut short.
    Truncate,
    /// The answer's body is not what it was.
    Garble,
    /// The token of the call is no longer valid.
    ExpireToken,
}

/// A fault and its details; each has a default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// Of `Status`. The default is 503.
    pub status: u16,
    /// Of `Status`. The default is empty.
    pub body: String,
    /// Of `Status`. The default is none.
    pub headers: BTreeMap<String, String>,
    /// Of `Status`: the request is acted on first, as a gateway's 503 may hide (facts 18). The default is false.
    pub acts: bool,
    /// Of `Delay`, in wall time. The default is 1.
    pub seconds: f64,
    /// Of `Truncate`: bytes that are still sent. The default is half.
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
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, ..Self::default() }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    pub fn delay(seconds: f64) -> Self {
        Self { kind: FaultKind::Delay, seconds, ..Self::default() }
    }

    /// From JSON of its fields; one that is not known, or not of its kind, is told.
    pub fn from_json(text: &str) -> Result<Self> {
        let fault: Self = json_options::parse("fault detail", text, bounds)?;
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
    /// The details that change it.
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
