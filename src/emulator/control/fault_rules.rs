//! Injects faults: into the n-th call of a route, or at random.

use bytes::Bytes;
use fastrand::Rng;
use http::Method;
use serde_json::{Value, json};

use crate::emulator::control::fault::{Fault, FaultKind};
use crate::emulator::wire::routes::Route;
use crate::error::{Error, Result};

/// The routes that the fault `wrong_entity` changes.
const ROUTES_WITH_AN_ENTITY: [Route; 4] = [
    Route::RunLiveResponse,
    Route::GetMachineAction,
    Route::CancelMachineAction,
    Route::GetMachine,
];

/// A fault for the calls that match a method and a path.
#[derive(Debug)]
struct FaultRule {
    /// `None` matches every method.
    method: Option<Method>,
    /// The name of a route, or a pattern of a path, in lower case.
    path: String,
    fault: Fault,
    /// How many matching calls pass before the first fault.
    skip: u32,
    /// How many faults are left.
    times: u32,
}

/// The rules of a test, in the order in which they were added.
#[derive(Debug)]
pub struct FaultRules {
    rules: Vec<FaultRule>,
    rng: Rng,
}

impl FaultRules {
    pub fn new(rng: Rng) -> Self {
        Self { rules: Vec::new(), rng }
    }

    /// Adds a fault for the `nth` matching call and the `times - 1` after it.
    pub fn add_rule(
        &mut self,
        method: &str,
        path: &str,
        fault: Fault,
        nth: u32,
        times: u32,
    ) -> Result<()> {
        let method =
            match method {
                "" | "*" => None,
                name => Some(Method::from_bytes(name.to_ascii_uppercase().as_bytes()).map_err(
                    |_| Error::invalid(format!("fault: {name:?} is not an HTTP method")),
                )?),
            };
        if nth == 0 {
            return Err(Error::invalid("fault: nth is 0; the first call is 1"));
        }
        if times == 0 {
            return Err(Error::invalid("fault: times is 0; it must be 1 or more"));
        }
        // A misspelt route would be a rule that never matches.
        if !path.contains(['/', '*'])
            && !Route::ALL.iter().any(|route| route.name().eq_ignore_ascii_case(path))
        {
            let names = Route::ALL.map(Route::name).join(", ");
            return Err(Error::invalid(format!(
                "fault: there is no route {path:?}; there are {names}"
            ))
            .with_hint("or give a path such as /api/machineactions/*/cancel"));
        }
        let has_entity = ROUTES_WITH_AN_ENTITY
            .iter()
            .any(|route| path.contains(['/', '*']) || route.name().eq_ignore_ascii_case(path));
        if fault.kind == FaultKind::WrongEntity && !has_entity {
            let names = ROUTES_WITH_AN_ENTITY.map(Route::name).join(", ");
            return Err(Error::invalid(format!(
                "fault: the route {path:?} does not answer with one entity; these do: {names}"
            )));
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

    /// Returns the rules that are left, as the entries that make them.
    pub fn describe(&self) -> Vec<Value> {
        let entry = |rule: &FaultRule| {
            let mut entry = rule.fault.describe();
            let method = rule.method.as_ref().map_or("*", Method::as_str);
            let own = [
                ("method", json!(method)),
                ("path", json!(rule.path)),
                ("nth", json!(u64::from(rule.skip) + 1)),
                ("times", json!(rule.times)),
            ];
            entry.extend(own.map(|(name, value)| (name.to_owned(), value)));
            Value::Object(entry)
        };
        self.rules.iter().map(entry).collect()
    }

    /// Forgets every rule.
    pub fn clear(&mut self) {
        self.rules.clear();
    }

    /// Returns the fault of this call, if any.
    ///
    /// Every rule that matches counts the call, so `nth` of a rule does not depend on other rules.
    /// The first rule that is due gives its fault.
    pub fn take_fault(&mut self, method: &Method, route: Route, path: &str) -> Option<Fault> {
        let mut due = None;
        for rule in &mut self.rules {
            // Paths of the API are not case-sensitive.
            let matches = rule.method.as_ref().is_none_or(|wanted| wanted == method)
                && (rule.path == route.name()
                    || matches_glob(&rule.path, &path.to_ascii_lowercase()));
            if !matches {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if due.is_none() && rule.times > 0 {
                rule.times -= 1;
                due = Some(rule.fault.clone());
            }
        }
        self.rules.retain(|rule| rule.times > 0);
        due
    }

    /// Returns a random fault with this probability, or `None`.
    pub fn draw_random_fault(&mut self, probability: f64, kinds: &[FaultKind]) -> Option<Fault> {
        // At probability 0 no number is drawn: what `garble` draws must not depend on how many
        // calls came before.
        if probability <= 0.0 || self.rng.f64() >= probability {
            return None;
        }
        self.rng.choice(kinds).map(|kind| Fault::new(*kind))
    }

    /// Changes some bytes of a body at random.
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

/// Returns whether `path` matches `pattern`. `*` and `{name}` match any characters except a slash.
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
    fn a_star_matches_within_a_segment() {
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
    fn the_nth_call_and_those_after_it_fail() {
        let mut faults = FaultRules::new(Rng::with_seed(1));
        faults.add_rule("GET", "machines", Fault::status(500), 2, 2).unwrap();
        let mut failed = Vec::new();
        for _ in 0..5 {
            failed.push(
                faults.take_fault(&Method::GET, Route::ListMachines, "/api/machines").is_some(),
            );
        }
        assert_eq!(failed, [false, true, true, false, false]);
    }
}
