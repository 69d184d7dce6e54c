//! The answers of the script.

use serde::{Deserialize, Deserializer};

use crate::state::store::{
    AdmissionResponse, CachedStatus, Intent, IntentKey, IntentState, SessionSlot, Snapshot, Ticket,
    WindowState, WindowUsage,
};

#[derive(Deserialize)]
#[serde(untagged)]
enum List<T> {
    Full(Vec<T>),
    Empty {},
}

/// Reads a list. Lua has one kind of table, so it sends an empty list as an empty object.
pub fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(match List::deserialize(deserializer)? {
        List::Full(list) => list,
        List::Empty {} => Vec::new(),
    })
}

/// Reads a time. The script sends times as text, because cjson rounds numbers to 14 digits.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
pub struct EmptyReply {}

#[derive(Deserialize)]
pub struct ActionsReply {
    #[serde(deserialize_with = "list")]
    pub actions: Vec<String>,
}

#[derive(Deserialize)]
pub struct BoolReply {
    pub yes: bool,
}

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
    fn from(reply: AdmissionReply) -> Self {
        let occupied = reply
            .occupied
            .into_iter()
            // A ticket that can't be parsed was not written by this library.
            .filter_map(|(ticket, action)| Some((Ticket::parse(&ticket)?, action)));
        Self {
            granted: reply.granted.iter().filter_map(|ticket| Ticket::parse(ticket)).collect(),
            occupied: occupied.collect(),
            owner_unknown: reply.owner_unknown,
            sessions_unknown: reply.sessions_unknown,
            // The script sends -1, since JSON has no infinity.
            wait: if reply.wait < 0.0 { f64::INFINITY } else { reply.wait },
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
    fn from(reply: WindowUsageReply) -> Self {
        Self { free_share: reply.share, wait: reply.wait }
    }
}

#[derive(Deserialize)]
pub struct FreedReply {
    pub freed: bool,
}

#[derive(Deserialize)]
pub struct LeaseReply {
    pub held: bool,
}

#[derive(Deserialize)]
pub struct PostedReply {
    pub check: String,
}

#[derive(Deserialize)]
pub struct SlotReply {
    machine_id: String,
    correlation_id: Option<String>,
    action_id: Option<String>,
    #[serde(deserialize_with = "seconds")]
    ends: f64,
    in_doubt: Option<String>,
}

impl From<SlotReply> for SessionSlot {
    fn from(slot: SlotReply) -> Self {
        let SlotReply { machine_id, correlation_id, action_id, ends, in_doubt } = slot;
        let in_doubt = in_doubt.and_then(|seconds| seconds.parse().ok());
        Self { machine_id, correlation_id, action_id, until: ends, in_doubt }
    }
}

#[derive(Deserialize)]
pub struct SlotsReply {
    #[serde(deserialize_with = "list")]
    slots: Vec<SlotReply>,
}

impl From<SlotsReply> for Vec<SessionSlot> {
    fn from(reply: SlotsReply) -> Self {
        reply.slots.into_iter().map(SessionSlot::from).collect()
    }
}

#[derive(Deserialize)]
pub struct IntentFields {
    commands: String,
    comment: String,
    #[serde(deserialize_with = "seconds")]
    created: f64,
    posted: bool,
    action_id: Option<String>,
    lease_held: bool,
}

impl IntentFields {
    /// Returns the intent, with its commands parsed.
    pub fn read(self) -> serde_json::Result<Intent> {
        let commands = serde_json::from_str(&self.commands)?;
        let Self { comment, created, posted, action_id, .. } = self;
        Ok(Intent { commands, comment, created, posted, action_id })
    }
}

#[derive(Deserialize)]
pub struct IntentReply {
    pub intent: Option<IntentFields>,
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
    statuses: Vec<CachedStatusReply>,
}

#[derive(Deserialize)]
struct CachedStatusReply {
    action: String,
    body: String,
    #[serde(deserialize_with = "seconds")]
    age: f64,
}

impl From<CachedStatusesReply> for Vec<(String, CachedStatus)> {
    fn from(reply: CachedStatusesReply) -> Self {
        reply
            .statuses
            .into_iter()
            .map(|CachedStatusReply { action, body, age }| (action, CachedStatus { body, age }))
            .collect()
    }
}

#[derive(Deserialize)]
struct WindowReply {
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
    intent: Option<IntentFields>,
}

#[derive(Deserialize)]
pub struct SnapshotReply {
    #[serde(deserialize_with = "seconds")]
    now: f64,
    #[serde(deserialize_with = "list")]
    windows: Vec<WindowReply>,
    #[serde(deserialize_with = "list")]
    intents: Vec<ListedIntent>,
    #[serde(deserialize_with = "list")]
    slots: Vec<SlotReply>,
}

impl From<SnapshotReply> for Snapshot {
    fn from(reply: SnapshotReply) -> Self {
        let window = |WindowReply { name, running, ended, waiting, blocked_for }| WindowState {
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
            now: reply.now,
            windows: reply.windows.into_iter().map(window).collect(),
            slots: reply.slots.into_iter().map(SessionSlot::from).collect(),
            intents: reply.intents.into_iter().filter_map(intent).collect(),
        }
    }
}
