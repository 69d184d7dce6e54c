//! The answers of the script about fleet runs.

use serde::Deserialize;

use super::reply::{list, seconds};

/// The answer of the script about a run, or that the run is unknown.
#[derive(Deserialize)]
pub struct RunReply<T> {
    #[serde(default)]
    pub missing: bool,
    #[serde(flatten)]
    pub content: T,
}

#[derive(Deserialize)]
pub struct RunHeaderReply {
    #[serde(default)]
    pub head: Option<String>,
    #[serde(default)]
    pub stopped: Option<String>,
}

#[derive(Deserialize)]
pub struct HeadsReply {
    #[serde(default, deserialize_with = "list")]
    pub heads: Vec<String>,
}

#[derive(Deserialize)]
pub struct RowsReply {
    #[serde(default, deserialize_with = "list")]
    pub rows: Vec<RowReply>,
}

#[derive(Deserialize)]
pub struct ClaimReply {
    #[serde(default)]
    pub row: Option<RowReply>,
}

#[derive(Deserialize)]
pub struct RowReply {
    pub row: u32,
    pub machine: String,
    #[serde(default)]
    pub machine_id: Option<String>,
    pub commands: u32,
    #[serde(default)]
    pub progress: Option<String>,
    pub done: bool,
    #[serde(default)]
    pub unreached: Option<String>,
}

#[derive(Deserialize)]
pub struct RunIdsReply {
    #[serde(default, deserialize_with = "list")]
    pub ids: Vec<String>,
}

#[derive(Deserialize)]
pub struct RunsReply {
    #[serde(default, deserialize_with = "list")]
    pub runs: Vec<SummaryReply>,
}

#[derive(Deserialize)]
pub struct SummaryReply {
    pub run_id: String,
    pub comment: String,
    pub machines: u32,
    #[serde(deserialize_with = "seconds")]
    pub created: f64,
    pub done: u32,
    /// None: an earlier version started the run and did not count.
    #[serde(default)]
    pub ok: Option<u32>,
    pub cancelled: bool,
}

#[derive(Deserialize)]
pub struct LastOutcomeReply {
    #[serde(default)]
    pub outcome: Option<String>,
    #[serde(default)]
    pub result: Option<String>,
}

#[derive(Deserialize)]
pub struct OwnersReply {
    #[serde(default, deserialize_with = "list")]
    pub owners: Vec<(u32, u32)>,
}

#[derive(Deserialize)]
pub struct OwnerReply {
    #[serde(default)]
    pub owner: Option<u32>,
}

#[derive(Deserialize)]
pub struct ProgressReply {
    #[serde(default)]
    pub before: Option<String>,
}

#[derive(Deserialize)]
pub struct FinishReply {
    #[serde(default)]
    pub first: bool,
}

#[derive(Deserialize)]
pub struct ReplaceReply {
    #[serde(default)]
    pub replaced: bool,
}

#[derive(Deserialize)]
pub struct OutcomesReply {
    /// How many outcomes were stored before these.
    #[serde(default)]
    pub from: u64,
    #[serde(default, deserialize_with = "list")]
    pub outcomes: Vec<String>,
}

#[derive(Deserialize)]
pub struct ResultReply {
    #[serde(default)]
    pub result: Option<String>,
}
