//! What the script answers. Lua has one kind of table: an empty list comes as an empty object.

use serde::{Deserialize, Deserializer};

use crate::state::store::{Answer, Intent, IntentKey, IntentState, Look, Slot, Snapshot, Ticket, View, WindowState};

#[derive(Deserialize)]
#[serde(untagged)]
enum List<T> {
    Full(Vec<T>),
    Empty {},
}

pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(match List::deserialize(deserializer)? {
        List::Full(list) => list,
        List::Empty {} => Vec::new(),
    })
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
pub struct Nothing {}

#[derive(Deserialize)]
pub struct Asked {
    #[serde(deserialize_with = "list")]
    granted: Vec<String>,
    #[serde(deserialize_with = "list")]
    occupied: Vec<(String, Option<String>)>,
    stranger: bool,
    learn_first: bool,
    #[serde(deserialize_with = "seconds")]
    wait: f64,
}

impl From<Asked> for Answer {
    fn from(asked: Asked) -> Self {
        let occupied =
            asked.occupied.into_iter().filter_map(|(ticket, action)| Some((Ticket::parse(&ticket)?, action)));
        Self {
            granted: asked.granted.iter().filter_map(|ticket| Ticket::parse(ticket)).collect(),
            occupied: occupied.collect(),
            stranger: asked.stranger,
            learn_first: asked.learn_first,
            wait: if asked.wait < 0.0 { f64::INFINITY } else { asked.wait },
        }
    }
}

#[derive(Deserialize)]
pub struct Viewed {
    #[serde(deserialize_with = "seconds")]
    share: f64,
    #[serde(deserialize_with = "seconds")]
    wait: f64,
}

impl From<Viewed> for View {
    fn from(viewed: Viewed) -> Self {
        Self { share: viewed.share, wait: viewed.wait }
    }
}

#[derive(Deserialize)]
pub struct Closed {
    pub freed: bool,
}

#[derive(Deserialize)]
pub struct Taken {
    pub mine: bool,
}

#[derive(Deserialize)]
pub struct Posted {
    pub right: String,
}

#[derive(Deserialize)]
pub struct WireSlot {
    machine_id: String,
    correlation_id: Option<String>,
    action_id: Option<String>,
    #[serde(deserialize_with = "seconds")]
    ends: f64,
    in_doubt: Option<String>,
}

impl From<WireSlot> for Slot {
    fn from(slot: WireSlot) -> Self {
        let WireSlot { machine_id, correlation_id, action_id, ends, in_doubt } = slot;
        let in_doubt = in_doubt.and_then(|seconds| seconds.parse().ok());
        Self { machine_id, correlation_id, action_id, until: ends, in_doubt }
    }
}

#[derive(Deserialize)]
pub struct Slots {
    #[serde(deserialize_with = "list")]
    slots: Vec<WireSlot>,
}

impl From<Slots> for Vec<Slot> {
    fn from(open: Slots) -> Self {
        open.slots.into_iter().map(Slot::from).collect()
    }
}

#[derive(Deserialize)]
pub struct WireIntent {
    commands: String,
    comment: String,
    #[serde(deserialize_with = "seconds")]
    created: f64,
    posted: bool,
    action_id: Option<String>,
    taken: bool,
}

impl WireIntent {
    pub fn read(self) -> serde_json::Result<Intent> {
        let commands = serde_json::from_str(&self.commands)?;
        let Self { comment, created, posted, action_id, .. } = self;
        Ok(Intent { commands, comment, created, posted, action_id })
    }
}

#[derive(Deserialize)]
pub struct Intended {
    pub intent: Option<WireIntent>,
    #[serde(default)]
    pub known: bool,
    #[serde(default)]
    lost_since: Option<String>,
}

impl Intended {
    pub fn lost_since(&self) -> Option<f64> {
        self.lost_since.as_ref()?.parse().ok()
    }
}

#[derive(Deserialize)]
pub struct Looks {
    #[serde(deserialize_with = "list")]
    looks: Vec<WireLook>,
}

#[derive(Deserialize)]
struct WireLook {
    action: String,
    body: String,
    #[serde(deserialize_with = "seconds")]
    age: f64,
}

impl From<Looks> for Vec<(String, Look)> {
    fn from(seen: Looks) -> Self {
        seen.looks.into_iter().map(|WireLook { action, body, age }| (action, Look { body, age })).collect()
    }
}

#[derive(Deserialize)]
struct WireWindow {
    name: String,
    running: u64,
    ended: u64,
    waiting: u64,
    #[serde(deserialize_with = "seconds")]
    held: f64,
}

#[derive(Deserialize)]
struct Listed {
    machine_id: String,
    correlation_id: String,
    intent: Option<WireIntent>,
}

#[derive(Deserialize)]
pub struct Shown {
    #[serde(deserialize_with = "seconds")]
    now: f64,
    #[serde(deserialize_with = "list")]
    windows: Vec<WireWindow>,
    #[serde(deserialize_with = "list")]
    intents: Vec<Listed>,
    #[serde(deserialize_with = "list")]
    slots: Vec<WireSlot>,
}

impl From<Shown> for Snapshot {
    fn from(shown: Shown) -> Self {
        let window =
            |WireWindow { name, running, ended, waiting, held }| WindowState { name, running, ended, waiting, held };
        let intent = |listed: Listed| {
            let key = IntentKey { machine_id: listed.machine_id, correlation_id: listed.correlation_id };
            let taken = listed.intent.as_ref().is_some_and(|intent| intent.taken);
            Some(IntentState { key, taken, intent: listed.intent?.read().ok()? })
        };
        Self {
            now: shown.now,
            windows: shown.windows.into_iter().map(window).collect(),
            slots: shown.slots.into_iter().map(Slot::from).collect(),
            intents: shown.intents.into_iter().filter_map(intent).collect(),
        }
    }
}
