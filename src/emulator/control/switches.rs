//! What is not known of the service, as named switches with the defaults of facts.md, section 15; and section 18's
//! surprises, off unless asked for. docs/emulator.md lists each.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::emulator::control::fault::FaultKind;
use crate::error::Result;

/// Times are seconds of the emulator's own clock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switches {
    /// Status of an accepted submit. The default is 201.
    pub accepted_status: u16,
    /// What a submit over the session cap gets. The default is `plain`.
    pub cap_answer: ThrottleResponse,
    /// What a call over a rate gets. The default is `full`.
    pub rate_answer: ThrottleResponse,
    /// Whether that answer has a Retry-After header. The default is true.
    pub rate_retry_after: bool,
    /// Which states count towards the session cap. The default is `open`: Pending and InProgress.
    pub cap_counts: CapCounts,
    /// How calls are counted. The default is `sliding`.
    pub windows: WindowKind,
    /// Whether a call that got a 429 uses up quota. The default is false.
    pub refused_calls_count: bool,
    /// Code of a wrong order, an unknown type, no commands. The default is `InvalidRequestBody`.
    pub bad_commands_code: String,
    /// Code of a body that lacks a field. The default is `MissingRequiredParameter`.
    pub missing_field_code: String,
    /// Code of a submit to a machine that is not supported. The default is `OsPlatformNotSupported`.
    pub unsupported_code: String,
    /// Whether wrong capitals in a body's keys are refused. The default is true.
    pub case_sensitive_bodies: bool,
    /// A file that is not in the library. The default is `fails`: accepted, then the command fails.
    pub missing_file: MissingFile,
    /// Status of commands after a failed one. The default is `Created`.
    pub skipped_status: String,
    /// Status of an action whose command failed. The default is `Failed`.
    pub failed_status: String,
    /// What a script that ends with another code than 0 makes of its command. The default is `completed`.
    pub nonzero_exit: NonzeroExit,
    /// Status of an action whose script ran too long. The default is `Failed`.
    pub script_timeout_status: String,
    /// Status of an action that stayed queued too long. The default is `TimeOut`.
    pub queue_expiry_status: String,
    /// Status of the link of a result that is not there yet, or of a PutFile. The default is 404.
    pub no_result_status: u16,
    /// Status of the link of a command index that the action does not have. The default is 400.
    pub out_of_range_status: u16,
    /// Whether a failed script that had started has a transcript. The default is true.
    pub failed_script_has_transcript: bool,
    /// Status at the blob host of a link that has expired. The default is 403.
    pub expired_link_status: u16,
    /// Seconds that a link lives. The default is 1,800.
    pub link_life: f64,
    /// Whether a collected file is gzipped. The default is true.
    pub gzip_files: bool,
    /// Whether that gzip stream tells the file's name. The default is true.
    pub gzip_name: bool,
    /// Whether the blob host says Content-Encoding: gzip. The default is false.
    pub blob_content_encoding: bool,
    /// Whether the blob host serves ranges. The default is true.
    pub blob_ranges: bool,
    /// Status of cancelling what has ended. The default is 400.
    pub cancel_ended_status: u16,
    /// Seconds until a running session is cancelled. The default is 2.
    pub cancel_time: f64,
    /// Seconds until a queued session is cancelled. The default is 0.
    pub cancel_pending_time: f64,
    /// Whether the cancelling answer has the cancellation fields filled. The default is true.
    pub cancel_fields_at_once: bool,
    /// Whether a running session that was cancelled goes on to its end. The default is false.
    pub cancel_loses: bool,
    /// Status of an upload over a name that is taken. The default is 400.
    pub upload_exists_status: u16,
    /// Status of an upload over the size. The default is 400.
    pub upload_too_big_status: u16,
    /// An upload whose part has no file name. The default is `file`: that becomes its name.
    pub unnamed_upload: UnnamedUpload,
    /// A machine asked for by its name. The default is `newest`: of several the one seen last.
    pub machine_by_name: MachineByName,
    /// Status of a token for another audience. The default is 403.
    pub wrong_audience_status: u16,
    /// The order of a list without `$orderby`. The default is `newest`.
    pub list_order: ListOrder,
    /// Whether a list of machines that finds none is a 404. The default is false.
    pub no_machines_is_404: bool,
    /// Whether commands go through Submitted and PendingResource. The default is true.
    pub command_states: bool,
    /// Coding of answers where it is accepted. The default is `deflate`; gzip where only that is accepted.
    pub compression: Compression,
    /// Which permission reads actions, machines and results. The default is `any` of Machine.Read.All and .ReadWrite.All.
    pub read_permission: ReadPermission,
    /// Items of one page. The default is 10,000.
    pub page_size: usize,
    /// Seconds that a token lives. The default is 3,599.
    pub token_life: f64,
    /// Host named in `@odata.context`. The default is none: the one that was called.
    pub context_host: Option<String>,

    /// A transcript begins with Windows' "Transcript started" line. The default is true.
    pub transcript_line: bool,
    /// NULs at the end of a transcript's output. The default is 1.
    pub transcript_nuls: usize,
    /// The form of a transcript. The default is `json`.
    pub transcript_form: TranscriptForm,

    /// A submit to a busy machine. The default is `error`; `foreign` is 201 with the other's action.
    pub busy_answer: BusyResponse,
    /// Seconds during which a new action shows no machine and no commands. The default is 0.
    pub null_first_body: f64,
    /// Whether it shows no comment during that time either. The default is false.
    pub null_first_comment: bool,
    /// Seconds during which a new action is a 404. The default is 0.
    pub fresh_404: f64,
    /// Seconds during which a new action is missing from lists. The default is 0.
    pub list_lag: f64,
    /// Seconds from an action's end until its results are there. The default is 0.
    pub result_lag: f64,
    /// Seconds for which a machine stays busy after a cancel. The default is 0.
    pub busy_after_cancel: f64,
    /// Whether a session that timed out makes every later submit to its machine a bare 500. The default is false.
    pub stuck_after_timeout: bool,
    /// Whether a link's value is wrapped in quotes. The default is false.
    pub quoted_link: bool,
    /// Whether live response is off in the tenant. The default is false.
    pub live_response_disabled: bool,

    /// Chance of a fault for each call, from the seed. The default is 0.
    pub fault_rate: f64,
    /// The kinds drawn from. The default is status, drop_before, drop_unread, drop_after, truncate, garble.
    pub fault_kinds: Vec<FaultKind>,
    /// Calls kept in the request log. The default is 100,000.
    pub log_size: usize,
}

macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($word:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($word),+ }
    };
}

string_enum! {
    /// `full`: the captured text with seconds. `plain`: TooManyRequests without a hint. `empty`: no body. `html`: a gateway's page.
    ThrottleResponse { Full, Plain, Empty, Html }
}
string_enum! { /// `open`: Pending and InProgress.
CapCounts { Open, Running } }
string_enum! { /// `fixed`: windows laid end to end.
WindowKind { Sliding, Fixed } }
string_enum! { /// `refused`: 400 at once.
MissingFile { Fails, Refused } }
string_enum! { /// `failed`: the command fails.
NonzeroExit { Completed, Failed } }
string_enum! {
    /// `refused`: 400.
    UnnamedUpload { File, Refused }
}
string_enum! {
    /// `refused`: 404, names are not looked up.
    MachineByName { Newest, Refused }
}
string_enum! { /// `oldest`: as they were made.
ListOrder { Newest, Oldest } }
string_enum! { /// `raw_deflate`: without the zlib wrapper.
Compression { Deflate, RawDeflate, Gzip, None } }
string_enum! { /// `read_write`: Machine.Read.All alone is Forbidden.
ReadPermission { Any, ReadWrite } }
string_enum! { /// `raw_newline` is not valid JSON; `text` is no JSON at all.
TranscriptForm { Json, RawNewline, Bom, Gzip, Zip, Text } }
string_enum! { /// `foreign`: 201 with the other's action.
BusyResponse { Error, Foreign } }

impl Default for Switches {
    fn default() -> Self {
        use FaultKind::{DropAfter, DropBefore, DropUnread, Garble, Status, Truncate};
        let word = str::to_owned;
        Self {
            accepted_status: 201,
            cap_answer: ThrottleResponse::Plain,
            rate_answer: ThrottleResponse::Full,
            rate_retry_after: true,
            cap_counts: CapCounts::Open,
            windows: WindowKind::Sliding,
            refused_calls_count: false,
            bad_commands_code: word("InvalidRequestBody"),
            missing_field_code: word("MissingRequiredParameter"),
            unsupported_code: word("OsPlatformNotSupported"),
            case_sensitive_bodies: true,
            missing_file: MissingFile::Fails,
            skipped_status: word("Created"),
            failed_status: word("Failed"),
            nonzero_exit: NonzeroExit::Completed,
            script_timeout_status: word("Failed"),
            queue_expiry_status: word("TimeOut"),
            no_result_status: 404,
            out_of_range_status: 400,
            failed_script_has_transcript: true,
            expired_link_status: 403,
            link_life: 1800.0,
            gzip_files: true,
            gzip_name: true,
            blob_content_encoding: false,
            blob_ranges: true,
            cancel_ended_status: 400,
            cancel_time: 2.0,
            cancel_pending_time: 0.0,
            cancel_fields_at_once: true,
            cancel_loses: false,
            upload_exists_status: 400,
            upload_too_big_status: 400,
            unnamed_upload: UnnamedUpload::File,
            machine_by_name: MachineByName::Newest,
            wrong_audience_status: 403,
            list_order: ListOrder::Newest,
            no_machines_is_404: false,
            command_states: true,
            compression: Compression::Deflate,
            read_permission: ReadPermission::Any,
            page_size: 10_000,
            token_life: 3599.0,
            context_host: None,
            transcript_line: true,
            transcript_nuls: 1,
            transcript_form: TranscriptForm::Json,
            busy_answer: BusyResponse::Error,
            null_first_body: 0.0,
            null_first_comment: false,
            fresh_404: 0.0,
            list_lag: 0.0,
            result_lag: 0.0,
            busy_after_cancel: 0.0,
            stuck_after_timeout: false,
            quoted_link: false,
            live_response_disabled: false,
            fault_rate: 0.0,
            fault_kinds: vec![Status, DropBefore, DropUnread, DropAfter, Truncate, Garble],
            log_size: 100_000,
        }
    }
}

impl Switches {
    /// From a JSON object; a name that is not known is told, with those that are.
    pub fn from_json(text: &str) -> Result<Self> {
        let read = crate::emulator::control::json_options::parse("switch", text, bounds);
        read.map_err(|error| error.with_hint("docs/emulator.md says what each switch does"))
    }
}

fn bounds(name: &str, value: &Value) -> Option<&'static str> {
    let whole =
        |range: RangeInclusive<u64>| value.as_u64().is_some_and(|number| range.contains(&number));
    let (fits, wanted) = match name {
        "skipped_status" | "failed_status" | "script_timeout_status" | "queue_expiry_status" => {
            (value.as_str().is_some_and(|word| !word.is_empty()), "a word")
        }
        name if name.ends_with("_status") => (whole(200..=599), "an HTTP status, 200 to 599"),
        "fault_rate" => {
            (value.as_f64().is_some_and(|chance| (0.0..=1.0).contains(&chance)), "between 0 and 1")
        }
        "page_size" => (whole(1..=10_000), "a whole number, 1 to 10000"),
        "transcript_nuls" => (whole(0..=1_000_000), "a whole number, 0 to 1000000"),
        "context_host" => (value.is_string() || value.is_null(), "a URL or null"),
        _ => return None,
    };
    (!fits).then_some(wanted)
}
