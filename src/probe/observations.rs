//! Collects observations, and decides what they show.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::profile::Profile;

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Observations {
    /// The values that were seen of each switch, and how often.
    seen: BTreeMap<&'static str, Vec<(Value, u64)>>,
    /// The durations that were seen of each switch, in seconds.
    durations: BTreeMap<&'static str, Vec<f64>>,
    /// How often each word was seen, by fact.
    tallies: BTreeMap<&'static str, BTreeMap<String, u64>>,
    facts: Map<String, Value>,
}

impl Observations {
    /// Records one observation of a switch.
    pub fn add(&mut self, switch: &'static str, value: impl Into<Value>) {
        self.add_many(switch, value, 1);
    }

    /// Records observations of a switch. Of 0 observations, nothing is recorded.
    pub fn add_many(&mut self, switch: &'static str, value: impl Into<Value>, count: u64) {
        if count == 0 {
            return;
        }
        let value = value.into();
        let values = self.seen.entry(switch).or_default();
        match values.iter_mut().find(|(seen, _)| *seen == value) {
            Some((_, times)) => *times += count,
            None => values.push((value, count)),
        }
    }

    /// Records a duration, of which the middle one counts: the service's own times vary.
    pub fn add_duration(&mut self, switch: &'static str, seconds: f64) {
        if seconds.is_finite() && seconds >= 0.0 {
            self.durations.entry(switch).or_default().push(seconds);
        }
    }

    /// Counts a word of a fact.
    pub fn tally(&mut self, fact: &'static str, word: impl Into<String>) {
        *self.tallies.entry(fact).or_default().entry(word.into()).or_default() += 1;
    }

    /// Records a fact that no switch stands for.
    pub fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.to_owned(), value.into());
    }

    /// Records the largest value of a fact.
    pub fn fact_at_least(&mut self, name: &str, value: u64) {
        let before = self.facts.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.fact(name, before.max(value));
    }

    /// Returns what is certain. A switch of which several values were seen stands for none of them.
    pub fn into_profile(mut self) -> Profile {
        let (mut observed, mut counts, mut mixed) = (Map::new(), BTreeMap::new(), Vec::new());
        for (switch, values) in self.seen {
            match values.as_slice() {
                [(value, count)] => {
                    observed.insert(switch.to_owned(), value.clone());
                    counts.insert(switch.to_owned(), *count);
                }
                _ => mixed.push(switch),
            }
        }
        for (switch, mut seconds) in self.durations {
            let count = seconds.len() as u64;
            seconds.sort_by(f64::total_cmp);
            let Some(middle) = seconds.get(seconds.len() / 2) else { continue };
            observed.insert(switch.to_owned(), json!((middle * 10.0).round() / 10.0));
            counts.insert(switch.to_owned(), count);
        }
        if !mixed.is_empty() {
            self.facts.insert("mixed".to_owned(), json!(mixed));
        }
        for (fact, words) in self.tallies {
            self.facts.insert(fact.to_owned(), json!(words));
        }
        Profile::new(observed, counts, self.facts)
    }
}

/// Returns a word of the service as it is, if it can only be one.
pub(super) fn service_word(word: &str) -> &str {
    let is_word = !word.is_empty() && word.len() <= 32;
    if is_word && word.bytes().all(|byte| byte.is_ascii_alphabetic()) { word } else { "other" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_without_another_is_observed() {
        let mut evidence = Observations::default();
        evidence.add("a", true);
        evidence.add("a", true);
        evidence.add("b", 1);
        evidence.add("b", 2);
        evidence.add_many("c", 1, 0);
        for seconds in [2.0, 1.96, 90.0, f64::NAN, -1.0] {
            evidence.add_duration("d", seconds);
        }
        let profile = evidence.into_profile();
        assert_eq!(Value::Object(profile.observed), json!({"a": true, "d": 2.0}));
        assert_eq!(json!(profile.counts), json!({"a": 2, "d": 3}));
        assert_eq!(Value::Object(profile.facts), json!({"mixed": ["b"]}));
    }

    #[test]
    fn what_may_be_a_text_of_the_tenant_is_no_word() {
        for (word, expected) in [
            ("TimeOut", "TimeOut"),
            ("", "other"),
            ("two words", "other"),
            ("ws-0001", "other"),
            ("é", "other"),
            (&"x".repeat(33), "other"),
        ] {
            assert_eq!(service_word(word), expected);
        }
    }
}
