//! Chooses among the machines of one name. No I/O.
//!
//! The service has several records of one name: of a machine that was installed again, of one that
//! was only discovered in the network, and records merged into another (docs/service.md, section
//! 19).

use serde_json::Value;

use crate::error::{Error, Kind};
use crate::model::{Machine, Timestamp};
use crate::text::sanitize;

/// How many machines the message of an ambiguous name describes.
const MAX_DESCRIBED: usize = 20;
const MAX_MERGES: usize = 8;

/// What decides between machines of one name.
#[derive(Clone, Debug)]
pub struct Namesake {
    pub id: String,
    name: String,
    health: String,
    onboarding: String,
    last_seen: Option<Timestamp>,
    merged_into: Option<String>,
}

/// The machine that a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    None,
    /// The machine at this place.
    One(usize),
    /// The machine with this id, which has another name.
    Merged(String),
    /// More than one could be meant.
    Several,
}

impl Namesake {
    pub fn new(machine: &Machine) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            id: machine.id.to_ascii_lowercase(),
            name: text(&machine.computer_dns_name),
            health: text(&machine.health_status),
            onboarding: text(&machine.onboarding_status),
            last_seen: machine.last_seen,
            merged_into: machine.merged_into(),
        }
    }

    /// Returns the full name, if the service has one.
    pub fn name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| !name.is_empty())
    }

    /// Returns whether the machine was only seen in the network, so that no session can run on it.
    fn is_discovered(&self) -> bool {
        ["CanBeOnboarded", "InsufficientInfo", "Unsupported"]
            .iter()
            .any(|status| self.onboarding.eq_ignore_ascii_case(status))
    }

    fn has_health(&self, health: &str) -> bool {
        self.health.eq_ignore_ascii_case(health)
    }

    fn describe(&self) -> String {
        let or_unknown = |text: &str, what: &str| match sanitize(text, 100) {
            text if text.is_empty() => format!("{what} unknown"),
            text => text,
        };
        let name = or_unknown(&self.name, "name");
        let seen = self.last_seen.map_or_else(
            || "last seen at an unknown time".to_owned(),
            |at| format!("last seen {}", at.to_string().chars().take(10).collect::<String>()),
        );
        let status = or_unknown(&self.health, "health");
        let merged = self.merged_into.as_deref().map(|id| format!(", merged into {id}"));
        let onboarding = Some(&self.onboarding)
            .filter(|status| !status.is_empty() && !status.eq_ignore_ascii_case("Onboarded"))
            .map(|status| format!(", {}", sanitize(status, 100)));
        let (merged, onboarding) = (merged.unwrap_or_default(), onboarding.unwrap_or_default());
        format!("{} ({name}, {seen}, {status}{onboarding}{merged})", self.id)
    }
}

/// Returns which of the machines of one name is meant.
pub fn choose(found: &[Namesake]) -> Choice {
    let mut ids: Vec<String> = found.iter().map(|it| current_id(found, it)).collect();
    ids.sort();
    ids.dedup();
    let records = ids.iter().map(|id| (id, found.iter().position(|it| it.id == *id)));
    let here: Vec<usize> = records.clone().filter_map(|(_, at)| at).collect();
    let elsewhere: Vec<&String> =
        records.filter(|(_, at)| at.is_none()).map(|(id, _)| id).collect();
    match (here.as_slice(), elsewhere.as_slice()) {
        ([], []) => Choice::None,
        ([], [id]) => Choice::Merged((*id).clone()),
        (here, []) => most_likely(found, here).map_or(Choice::Several, Choice::One),
        _ => Choice::Several,
    }
}

/// Follows the merges among `found`. Returns the id of the last record.
fn current_id(found: &[Namesake], start: &Namesake) -> String {
    let mut at = start;
    for _ in 0..MAX_MERGES {
        let Some(next) = &at.merged_into else { return at.id.clone() };
        let Some(record) = found.iter().find(|it| it.id == *next) else { return next.clone() };
        at = record;
    }
    // A circle of merges: every record of it is as good as any other.
    start.id.clone()
}

/// Returns the only one of the machines at `places` that could be meant.
fn most_likely(found: &[Namesake], places: &[usize]) -> Option<usize> {
    let at = |places: &[usize], is: &dyn Fn(&Namesake) -> bool| -> Vec<usize> {
        places.iter().copied().filter(|at| found.get(*at).is_some_and(is)).collect()
    };
    let onboarded = at(places, &|it| !it.is_discovered());
    let pool = if onboarded.is_empty() { places } else { &onboarded };
    if let [one] = pool {
        return Some(*one);
    }
    let [active] = *at(pool, &|it| it.has_health("Active")) else { return None };
    let seen = found.get(active)?.last_seen;
    // An inactive record that was seen later than the active one contradicts it.
    let outdated = at(pool, &|it| it.has_health("Inactive") && it.last_seen <= seen);
    (outdated.len() + 1 == pool.len()).then_some(active)
}

/// Returns the error for a name that more than one machine has.
pub fn ambiguous_error(name: &str, found: &[Namesake], candidates: Vec<Value>) -> Error {
    let mut described: Vec<_> = found.iter().take(MAX_DESCRIBED).map(Namesake::describe).collect();
    if found.len() > MAX_DESCRIBED {
        described.push(format!("and {} more", found.len() - MAX_DESCRIBED));
    }
    let message = format!("{} machines are named {name:?}: {}", found.len(), described.join("; "));
    let mut error = Error::new(Kind::AmbiguousMachine, message)
        .with_hint("give the id of the machine that you mean");
    error.candidates = candidates;
    error
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `spec`: id, health, onboarding, last seen, merged into; "-" stands for null.
    fn named(specs: &[[&str; 5]]) -> Vec<Namesake> {
        let namesake = |spec: &[&str; 5]| {
            let [id, health, onboarding, seen, merged] =
                spec.map(|text| (text != "-").then_some(text));
            let long = |id: Option<&str>| id.map(|id| id.repeat(40));
            let machine = json!({
                "id": long(id), "computerDnsName": "twin", "healthStatus": health,
                "onboardingStatus": onboarding, "lastSeen": seen,
                "mergedIntoMachineId": long(merged),
            });
            Namesake::new(&crate::model::decode_entity(machine.to_string().as_bytes()).unwrap())
        };
        specs.iter().map(namesake).collect()
    }

    #[test]
    fn the_only_machine_that_could_be_meant_is_chosen() {
        const NEW: &str = "2026-11-20T10:00:00Z";
        const OLD: &str = "2026-01-20T10:00:00Z";
        let active = ["a", "Active", "Onboarded", NEW, "-"];
        let inactive = ["b", "Inactive", "Onboarded", OLD, "-"];
        let discovered = ["c", "Active", "CanBeOnboarded", NEW, "-"];
        let merged = ["d", "Active", "Onboarded", NEW, "a"];
        let elsewhere = ["e", "Active", "Onboarded", NEW, "f"];
        let table: [(&[[&str; 5]], Choice); 14] = [
            (&[], Choice::None),
            (&[active], Choice::One(0)),
            (&[inactive, active], Choice::One(1)),
            (&[inactive, discovered, active], Choice::One(2)),
            (&[discovered, inactive], Choice::One(1)),
            (&[discovered], Choice::One(0)),
            (&[merged, active], Choice::One(1)),
            (&[merged, inactive, active], Choice::One(2)),
            (&[elsewhere], Choice::Merged("f".repeat(40))),
            (&[elsewhere, active], Choice::Several),
            (&[active, ["g", "Active", "Onboarded", OLD, "-"]], Choice::Several),
            (&[active, ["g", "NoSensorData", "Onboarded", OLD, "-"]], Choice::Several),
            (&[["g", "Active", "-", OLD, "-"], ["h", "Inactive", "-", NEW, "-"]], Choice::Several),
            (&[inactive, ["h", "Inactive", "-", NEW, "-"]], Choice::Several),
        ];
        for (specs, expected) in table {
            assert_eq!(choose(&named(specs)), expected, "{specs:?}");
        }
    }

    #[test]
    fn a_circle_of_merges_ends() {
        let circle = named(&[["a", "Active", "-", "-", "b"], ["b", "Active", "-", "-", "a"]]);
        assert_eq!(choose(&circle), Choice::Several);
    }

    #[test]
    fn an_ambiguous_name_says_how_the_machines_differ() {
        let twins = named(&[
            ["a", "Active", "Onboarded", "2026-11-20T10:00:00Z", "-"],
            ["b", "-", "Unsupported", "-", "-"],
        ]);
        let message = ambiguous_error("twin", &twins, Vec::new()).message.clone();
        assert!(message.contains("(twin, last seen 2026-11-20, Active)"), "{message}");
        let other = "(twin, last seen at an unknown time, health unknown, Unsupported)";
        assert!(message.contains(other), "{message}");
    }
}
