//! Faults on demand: the n-th call to a route, or any call by a chance drawn from the seed.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::emulator::control::switches::Switches;
use crate::emulator::wire::routes::Route;
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
        let fault: Self =
            crate::emulator::control::json_options::parse("fault detail", text, bounds)?;
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

/// A fault laid for the calls that its method and path match.
#[derive(Debug)]
struct FaultRule {
    method: Option<Method>,
    path: String,
    fault: Fault,
    /// Matching calls to let by first.
    skip: u32,
    times: u32,
}

#[derive(Debug)]
pub struct Faults {
    rules: Vec<FaultRule>,
    rng: Rng,
}

impl Faults {
    pub fn new(rng: Rng) -> Self {
        Self { rules: Vec::new(), rng }
    }

    pub fn add_rule(
        &mut self,
        method: &str,
        path: &str,
        fault: Fault,
        nth: u32,
        times: u32,
    ) -> Result<()> {
        let method = match method {
            "" | "*" => None,
            name => Some(
                Method::from_bytes(name.to_ascii_uppercase().as_bytes())
                    .map_err(|_| Error::invalid(format!("fault: {name:?} is no HTTP method")))?,
            ),
        };
        if nth == 0 {
            return Err(Error::invalid("fault: nth is 0; the first call is 1"));
        }
        if times == 0 {
            return Err(Error::invalid("fault: times is 0; it has to be 1 or more"));
        }
        if !path.contains(['/', '*'])
            && !Route::ALL.iter().any(|route| route.name().eq_ignore_ascii_case(path))
        {
            let names = Route::ALL.map(Route::name).join(", ");
            return Err(Error::invalid(format!(
                "fault: there is no route {path:?}; there are {names}"
            ))
            .with_hint("or give a path, as /api/machineactions/*/cancel"));
        }
        self.rules.push(FaultRule {
            method,
            path: path.to_ascii_lowercase(),
            fault,
            skip: nth - 1,
            times,
        });
        Ok(())
    }

    /// The fault of this call, if it has one. Each rule that matches counts the call, and the first that is due fires.
    pub fn take_fault(
        &mut self,
        method: &Method,
        route: Route,
        path: &str,
        switches: &Switches,
    ) -> Option<Fault> {
        let mut fired = None;
        for rule in &mut self.rules {
            let matches = rule.method.as_ref().is_none_or(|wanted| wanted == method)
                && (rule.path == route.name()
                    || matches_glob(&rule.path, &path.to_ascii_lowercase()));
            if !matches {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if fired.is_none() && rule.times > 0 {
                rule.times -= 1;
                fired = Some(rule.fault.clone());
            }
        }
        self.rules.retain(|rule| rule.times > 0);
        fired.or_else(|| self.draw_random_fault(switches))
    }

    fn draw_random_fault(&mut self, switches: &Switches) -> Option<Fault> {
        if switches.fault_rate <= 0.0 || self.rng.f64() >= switches.fault_rate {
            return None;
        }
        self.rng.choice(&switches.fault_kinds).map(|kind| Fault::new(*kind))
    }

    pub fn garble(&mut self, body: &Bytes) -> Bytes {
        let mut bytes = body.to_vec();
        for byte in &mut bytes {
            if self.rng.u8(..8) == 0 {
                *byte = self.rng.u8(..);
            }
        }
        Bytes::from(bytes)
    }
}

/// Whether `pattern`, in which `*` and `{anything}` stand for any characters but a slash, is all of `path`.
fn matches_glob(pattern: &str, path: &str) -> bool {
    let wanted = pattern.trim_matches('/').split('/');
    let mut given = path.trim_matches('/').split('/');
    let all = wanted
        .into_iter()
        .all(|wanted| given.next().is_some_and(|given| segment_matches_glob(wanted, given)));
    all && given.next().is_none()
}

fn segment_matches_glob(pattern: &str, text: &str) -> bool {
    if pattern.starts_with('{') && pattern.ends_with('}') {
        return true;
    }
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(head) else { return false };
    rest.is_empty()
        || (0..=text.len())
            .filter_map(|at| text.get(at..))
            .any(|tail| segment_matches_glob(rest, tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_one_segment() {
        assert!(matches_glob(
            "/api/machines/*/runliveresponse",
            "/api/machines/ab12/runliveresponse"
        ));
        assert!(matches_glob(
            "/api/machines/{id}/runliveresponse",
            "/api/machines/ab12/runliveresponse"
        ));
        assert!(matches_glob(
            "/api/machineactions/*/get*(index=0)",
            "/api/machineactions/x/getlink(index=0)"
        ));
        assert!(!matches_glob("/api/machines/*", "/api/machines/a/b"));
        assert!(!matches_glob("/api/machines", "/api/machines/a"));
    }

    #[test]
    fn the_nth_call_and_so_many_more_fail() {
        let (mut faults, switches) = (Faults::new(Rng::with_seed(1)), Switches::default());
        faults.add_rule("GET", "machines", Fault::status(500), 2, 2).unwrap();
        let mut fired = Vec::new();
        for _ in 0..5 {
            fired.push(
                faults
                    .take_fault(&Method::GET, Route::ListMachines, "/api/machines", &switches)
                    .is_some(),
            );
        }
        assert_eq!(fired, [false, true, true, false, false]);
    }
}
