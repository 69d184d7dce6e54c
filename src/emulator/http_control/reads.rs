//! What the control returns to a GET.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::emulator::clock::format_time;
use crate::emulator::control::entries::Section;
use crate::emulator::control::raw_properties::RawProperties;
use crate::emulator::control::request_log::LoggedRequest;
use crate::emulator::control::switches::Switches;
use crate::emulator::http_control::answers::{Answered, Refusal, ok};
use crate::emulator::http_control::page;
use crate::emulator::session::action_json::View;
use crate::emulator::session::session_counts::FOREIGN_APPLICATION;

/// Something to read that is no section.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    Requests,
    Counters,
    Violations,
    Sessions,
    Clock,
    Config,
    Page,
    Switches,
    Section(Section),
}

impl Reading {
    pub const NAMED: [(&'static str, Self); 8] = [
        ("requests", Self::Requests),
        ("counters", Self::Counters),
        ("violations", Self::Violations),
        ("sessions", Self::Sessions),
        ("clock", Self::Clock),
        ("config", Self::Config),
        ("", Self::Page),
        ("switches", Self::Switches),
    ];

    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, reading)| reading)
    }

    pub fn answer(self, emulator: &Emulator, query: &str) -> Answered {
        let last = match self {
            Self::Requests | Self::Sessions | Self::Section(Section::Machines) => last_of(query)?,
            _ => usize::MAX,
        };
        Ok(match self {
            Self::Requests => {
                // A copy, so that the lock is free while it is written.
                let requests = emulator.lock_state().log.newest(last);
                list(requests.iter().map(LoggedRequest::to_json))
            }
            Self::Counters => ok(&json!(emulator.counters())),
            Self::Violations => ok(&json!(emulator.violations())),
            Self::Sessions => list(emulator.sessions_json(last).into_iter()),
            Self::Clock => ok(&emulator.clock_json()),
            Self::Config => ok(&emulator.config()),
            Self::Page => page::response(),
            Self::Switches => ok(&emulator.switches_json()),
            Self::Section(Section::Machines) => list(emulator.machines_json(last).into_iter()),
            Self::Section(section) => list(emulator.describe_section(section).into_iter()),
        })
    }
}

fn list(items: impl Iterator<Item = Value>) -> Response<Bytes> {
    ok(&Value::Array(items.collect()))
}

/// Returns how many items the query `last=N` asks for: the newest ones. Without it, all.
fn last_of(query: &str) -> Result<usize, Refusal> {
    if query.is_empty() {
        return Ok(usize::MAX);
    }
    query
        .strip_prefix("last=")
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Refusal::bad_request("the only query is last=N, a whole number"))
}

impl Emulator {
    /// Returns the sessions, oldest first: at most the `last` ones.
    ///
    /// Each is the action as the service would show it if no switch changed that, with `ended`,
    /// `listed`, `foreign` and `polls`.
    fn sessions_json(&self, last: usize) -> Vec<Value> {
        let (state, now) = self.lock_advanced();
        let (switches, raw) = (Switches::default(), RawProperties::default());
        let view = View { now, switches: &switches, raw: &raw };
        let counters = state.log.counters();
        let skip = state.actions.iter().count().saturating_sub(last);
        let shown = state.actions.iter().skip(skip).map(|(_, action)| {
            let mut entity = b"{".to_vec();
            action.write(&mut entity, view);
            entity.push(b'}');
            let mut shown: Value = serde_json::from_slice(&entity).unwrap_or_default();
            if let Value::Object(shown) = &mut shown {
                let foreign = action.application.is_none_or(|of| of == FOREIGN_APPLICATION);
                let polls = counters.get(&format!("polls:{}", action.id)).copied().unwrap_or(0);
                let own = [
                    ("ended", json!(action.ended.map(format_time))),
                    ("listed", json!(action.listed)),
                    ("foreign", json!(foreign)),
                    ("polls", json!(polls)),
                ];
                shown.extend(own.map(|(name, value)| (name.to_owned(), value)));
            }
            shown
        });
        shown.collect()
    }

    fn machines_json(&self, last: usize) -> Vec<Value> {
        let ids = self.machine_ids();
        let of = |id: &String| self.machine_json(id).unwrap_or_default();
        ids.iter().skip(ids.len().saturating_sub(last)).map(of).collect()
    }

    fn clock_json(&self) -> Value {
        let (state, now) = self.lock_now();
        json!({ "time": format_time(now), "speed": state.speed })
    }
}
