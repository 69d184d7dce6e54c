//! What the script answers. Lua has one kind of table: an empty list comes as an empty object.

use serde::{Deserialize, Deserializer};

use crate::state::store::{
    AdmissionResponse, CachedStatus, Intent, IntentKey, IntentState, Slot, Snapshot, Ticket,
    WindowState, WindowUsage,
};

#[derive(Deserialize)]
#[serde(untagged)]
enum List<T> {
    Full(Vec<T>),
    Empty {},
}

pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(match List::deserialize(deserializer)? {
        List::Full(list) => list,
        List::Empty {} => Vec::new(),
    })
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
pub struct EmptyReply {}

#[derive(Deserialize)]
pub struct AdmissionReply {
    #[serde(deserialize_with = "list")]
    granted: Vec<String>,
    #[serde(deserialize_with = "list")]
    occupied: Vec<(String, Option<String>)>,
    owner_unknown: bool,
    sessions_unknown: bool,
    #[serde(deserialize_with = "seconds")]
    wait: f64,
}

impl From<AdmissionReply> for AdmissionResponse {
    fn from(asked: AdmissionReply) -> Self {
        let occupied = asked
            .occupied
            .into_iter()
            .filter_map(|(ticket, action)| Some((Ticket::parse(&ticket)?, action)));
        Self {
            granted: asked.granted.iter().filter_map(|ticket| Ticket::parse(ticket)).collect(),
            occupied: occupied.collect(),
            owner_unknown: asked.owner_unknown,
            sessions_unknown: asked.sessions_unknown,
            wait: if asked.wait < 0.0 { f64::INFINITY } else { asked.wait },
        }
    }
}

#[derive(Deserialize)]
pub struct WindowUsageReply {
    #[serde(deserialize_with = "seconds")]
    share: f64,
    #[serde(deserialize_with = "seconds")]
    wait: f64,
}

impl From<WindowUsageReply> for WindowUsage {
    fn from(viewed: WindowUsageReply) -> Self {
        Self { free_share: viewed.share, wait: viewed.wait }
    }
}

#[derive(Deserialize)]
pub struct FreedReply {
    pub freed: bool,
}

#[derive(Deserialize)]
pub struct LeaseReply {
    pub mine: bool,
}

#[derive(Deserialize)]
pub struct PostedReply {
    pub check: String,
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
pub struct SlotsReply {
    #[serde(deserialize_with = "list")]
    slots: Vec<WireSlot>,
}

impl From<SlotsReply> for Vec<Slot> {
    fn from(open: SlotsReply) -> Self {
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
    lease_held: bool,
}

impl WireIntent {
    pub fn read(self) -> serde_json::Result<Intent> {
        let commands = serde_json::from_str(&self.commands)?;
        let Self { comment, created, posted, action_id, .. } = self;
        Ok(Intent { commands, comment, created, posted, action_id })
    }
}

#[derive(Deserialize)]
pub struct IntentReply {
    pub intent: Option<WireIntent>,
    #[serde(default)]
    pub known: bool,
    #[serde(default)]
    since_state_loss: Option<String>,
}

impl IntentReply {
    pub fn since_state_loss(&self) -> Option<f64> {
        self.since_state_loss.as_ref()?.parse().ok()
    }
}

#[derive(Deserialize)]
pub struct CachedStatusesReply {
    #[serde(deserialize_with = "list")]
    statuses: Vec<WireCachedStatus>,
}

#[derive(Deserialize)]
struct WireCachedStatus {
    action: String,
    body: String,
    #[serde(deserialize_with = "seconds")]
    age: f64,
}

impl From<CachedStatusesReply> for Vec<(String, CachedStatus)> {
    fn from(seen: CachedStatusesReply) -> Self {
        seen.statuses
            .into_iter()
            .map(|WireCachedStatus { action, body, age }| (action, CachedStatus { body, age }))
            .collect()
    }
}

#[derive(Deserialize)]
struct WireWindow {
    name: String,
    running: u64,
    ended: u64,
    waiting: u64,
    #[serde(deserialize_with = "seconds")]
    blocked_for: f64,
}

#[derive(Deserialize)]
struct ListedIntent {
    machine_id: String,
    correlation_id: String,
    intent: Option<WireIntent>,
}

#[derive(Deserialize)]
pub struct SnapshotReply {
    #[serde(deserialize_with = "seconds")]
    now: f64,
    #[serde(deserialize_with = "list")]
    windows: Vec<WireWindow>,
    #[serde(deserialize_with = "list")]
    intents: Vec<ListedIntent>,
    #[serde(deserialize_with = "list")]
    slots: Vec<WireSlot>,
}

impl From<SnapshotReply> for Snapshot {
    fn from(shown: SnapshotReply) -> Self {
        let window = |WireWindow { name, running, ended, waiting, blocked_for }| WindowState {
            name,
            running,
            ended,
            waiting,
            blocked_for,
        };
        let intent = |listed: ListedIntent| {
            let key =
                IntentKey { machine_id: listed.machine_id, correlation_id: listed.correlation_id };
            let lease_held = listed.intent.as_ref().is_some_and(|intent| intent.lease_held);
            Some(IntentState { key, lease_held, intent: listed.intent?.read().ok()? })
        };
        Self {
            now: shown.now,
            windows: shown.windows.into_iter().map(window).collect(),
            slots: shown.slots.into_iter().map(Slot::from).collect(),
            intents: shown.intents.into_iter().filter_map(intent).collect(),
        }
    }
}
