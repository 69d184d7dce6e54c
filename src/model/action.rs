//! Machine actions: the service's records of submitted commands.

use serde::{Deserialize, Deserializer, Serialize};

use super::command::Command;
use super::hresult::describe_hresult;
use super::record::{Entity, NeededId, Raw};
use super::timestamp::Timestamp;

/// A machine action as the service describes it (page "machineaction").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineAction {
    pub id: String,
    #[serde(rename = "type", default = "unknown", deserialize_with = "null_as_unknown")]
    pub kind: String,
    /// Empty if the service sends none, which is not a final status.
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    pub status: String,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "machineId")]
    pub machine_id: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "computerDnsName")]
    pub computer_dns_name: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    pub requestor: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "requestorComment")]
    pub requestor_comment: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "creationDateTimeUtc")]
    pub creation_date_time_utc: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "lastUpdateDateTimeUtc")]
    pub last_update_date_time_utc: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "cancellationRequestor")]
    pub cancellation_requestor: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "cancellationComment")]
    pub cancellation_comment: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "cancellationDateTimeUtc")]
    pub cancellation_date_time_utc: Option<Timestamp>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "errorHResult")]
    pub error_hresult: Option<i64>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "externalId", alias = "externalID")]
    pub external_id: Option<String>,
    #[serde(default, deserialize_with = "super::lenient::or_default")]
    #[serde(alias = "requestSource")]
    pub request_source: Option<String>,
    #[serde(default, deserialize_with = "received_commands")]
    pub commands: Vec<ActionCommand>,
    // An older page names the field so. Not a `serde(alias)`: a body with both names would be
    // refused.
    #[serde(default, skip_serializing, rename = "lastUpdateTimeUtc")]
    #[serde(deserialize_with = "super::lenient::or_default")]
    last_update_time_utc: Option<Timestamp>,
    #[serde(rename = "_raw", default = "super::record::empty_raw")]
    pub raw: Raw,
}

/// One command of an action, with its status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionCommand {
    pub index: u32,
    #[serde(default)]
    #[serde(alias = "startTime")]
    pub start_time: Option<Timestamp>,
    #[serde(default)]
    #[serde(alias = "endTime")]
    pub end_time: Option<Timestamp>,
    #[serde(alias = "commandStatus")]
    pub status: String,
    #[serde(default, deserialize_with = "super::lenient::null_as_empty")]
    pub errors: Vec<String>,
    #[serde(default)]
    pub command: Command,
}

impl MachineAction {
    /// Returns whether the status is final.
    pub fn is_done(&self) -> bool {
        is_final(&self.status)
    }

    /// Returns the HRESULT by name, such as `E_ACCESSDENIED (0x80070005)`. None if nothing failed.
    pub fn error_name(&self) -> Option<String> {
        describe_hresult(self.error_hresult?)
    }

    /// Returns whether a command has started.
    pub fn has_started(&self) -> bool {
        self.commands.iter().any(|command| command.start_time.is_some())
    }
}

impl Entity for MachineAction {
    type Needed = NeededId;

    fn set_raw(&mut self, raw: Raw) {
        self.raw = raw;
        let older = self.last_update_time_utc.take();
        self.last_update_date_time_utc = self.last_update_date_time_utc.or(older);
        // The service does not promise an order.
        self.commands.sort_by_key(|command| command.index);
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// Reads the commands of an action. A command needs no field: its place is its index then.
fn received_commands<'de, D>(deserializer: D) -> Result<Vec<ActionCommand>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Default, Deserialize)]
    struct Received {
        #[serde(default, deserialize_with = "super::lenient::or_default")]
        index: Option<u32>,
        #[serde(default, deserialize_with = "super::lenient::or_default", alias = "startTime")]
        start_time: Option<Timestamp>,
        #[serde(default, deserialize_with = "super::lenient::or_default", alias = "endTime")]
        end_time: Option<Timestamp>,
        #[serde(default, deserialize_with = "super::lenient::or_default", alias = "commandStatus")]
        status: String,
        #[serde(default, deserialize_with = "super::lenient::list")]
        errors: Vec<String>,
        #[serde(default, deserialize_with = "super::lenient::or_default")]
        command: Command,
    }
    let items = super::lenient::raw_list(deserializer)?;
    let received = items.iter().filter(|item| item.get() != "null");
    // An odd entry keeps its place, because the order of the commands is known.
    let received = received.map(|item| serde_json::from_str(item.get()).unwrap_or_default());
    let command = |(at, it): (usize, Received)| ActionCommand {
        index: it.index.unwrap_or_else(|| u32::try_from(at).unwrap_or(u32::MAX)),
        start_time: it.start_time,
        end_time: it.end_time,
        status: it.status,
        errors: it.errors,
        command: it.command,
    };
    Ok(received.enumerate().map(command).collect())
}

/// Returns whether a status is final.
pub fn is_final(status: &str) -> bool {
    // An unknown status is not final: a new status of the service must not end a wait too early.
    matches!(status, "Succeeded" | "Failed" | "TimeOut" | "Cancelled")
}

fn unknown() -> String {
    "Unknown".to_owned()
}

fn null_as_unknown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let kind: Option<String> = super::lenient::or_default(deserializer)?;
    Ok(kind.unwrap_or_else(unknown))
}
