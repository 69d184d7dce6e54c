//! Switches for behaviour of the service that is unknown or surprising.
//!
//! The first group has the defaults of docs/service.md, section 15. The surprises of section 18 are
//! off by default. docs/emulator.md lists every switch.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::emulator::control::fault::FaultKind;
pub use crate::emulator::control::switch_words::{
    BusyResponse, CapCounts, CommentForm, Compression, ListOrder, MachineByName, MergedMachine,
    MissingFile, MissingRoleText, NonzeroExit, ReadPermission, Requestor, TenantState,
    ThrottleResponse, TranscriptForm, UnnamedUpload, WindowKind,
};
use crate::emulator::control::{json_options, switch_bounds};
use crate::error::{Error, Result};

/// Declares the struct and its `Default`, so that each default is next to its field.
macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr,)+) => {
        /// The emulator's switches. Times are in seconds of emulated time.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Switches {
            $($(#[$doc])* pub $name: $type,)+
        }

        impl Default for Switches {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }
    };
}

const DEFAULT_FAULT_KINDS: [FaultKind; 6] = [
    FaultKind::Status,
    FaultKind::DropBefore,
    FaultKind::DropUnread,
    FaultKind::DropAfter,
    FaultKind::Truncate,
    FaultKind::Garble,
];

switches! {
    /// Status of an accepted submit. The default is 201.
    accepted_status: u16 = 201,
    /// Response to a submit over the session cap. The default is `plain`.
    cap_answer: ThrottleResponse = ThrottleResponse::Plain,
    /// Response to a call over a rate limit. The default is `full`.
    rate_answer: ThrottleResponse = ThrottleResponse::Full,
    /// Whether that response has a Retry-After header. The default is true.
    rate_retry_after: bool = true,
    /// Which sessions count towards the session cap. The default is `open`: Pending and InProgress.
    cap_counts: CapCounts = CapCounts::Open,
    /// The kind of window in which calls are counted. The default is `sliding`.
    windows: WindowKind = WindowKind::Sliding,
    /// Whether a call that gets a 429 uses up quota. The default is false.
    refused_calls_count: bool = false,
    /// Error code of commands in the wrong order, of an unknown type, or of an empty list. The
    /// default is `InvalidRequestBody`.
    bad_commands_code: String = "InvalidRequestBody".to_owned(),
    /// Error code of a body that lacks a field. The default is `MissingRequiredParameter`.
    missing_field_code: String = "MissingRequiredParameter".to_owned(),
    /// Error code of a submit to a machine that does not support live response. The default is
    /// `OsPlatformNotSupported`.
    unsupported_code: String = "OsPlatformNotSupported".to_owned(),
    /// Error code of a submit to a busy machine. The default is `ActiveRequestAlreadyExists`.
    busy_code: String = "ActiveRequestAlreadyExists".to_owned(),
    /// Whether the keys of a body are case-sensitive. The default is true.
    case_sensitive_bodies: bool = true,
    /// Whether arguments with a character that the portal refuses are a 400. The default is false.
    portal_characters_refused: bool = false,
    /// How many characters a script's arguments may have. The default is none: any number.
    command_line_limit: Option<usize> = None,
    /// Whether each PowerShell script ends with 323: its hash differs. The default is false.
    script_hash_differs: bool = false,
    /// Whether a PutFile of over 10 MB fails on other systems than Windows. The default is false.
    small_put_files: bool = false,
    /// What a command does if its file is not in the library. The default is `fails`.
    missing_file: MissingFile = MissingFile::Fails,
    /// Status of the commands after a failed one. The default is `Created`.
    skipped_status: String = "Created".to_owned(),
    /// Status of an action whose command failed. The default is `Failed`.
    failed_status: String = "Failed".to_owned(),
    /// Status of a command whose script ends with an exit code other than 0. The default is
    /// `completed`.
    nonzero_exit: NonzeroExit = NonzeroExit::Completed,
    /// Status of an action whose script ran too long. The default is `Failed`.
    script_timeout_status: String = "Failed".to_owned(),
    /// Status of an action that was Pending for too long. The default is `TimeOut`.
    queue_expiry_status: String = "TimeOut".to_owned(),
    /// Status of a link request for a command without a result, such as a PutFile. The default is
    /// 404.
    no_result_status: u16 = 404,
    /// Status of a link request for a result that does not exist yet. The default is 400.
    early_link_status: u16 = 400,
    /// Status of a link request for a command that the action does not have. The default is 400.
    out_of_range_status: u16 = 400,
    /// Whether a script that started and then failed has a transcript. The default is true.
    failed_script_has_transcript: bool = true,
    /// Status of the blob host for an expired link. The default is 403.
    expired_link_status: u16 = 403,
    /// How long a link is valid. The default is 1,800.
    link_life: f64 = 1800.0,
    /// Whether collected files are compressed with gzip. The default is true.
    gzip_files: bool = true,
    /// Whether the gzip header has the file's name. The default is true.
    gzip_name: bool = true,
    /// Whether the blob host sends Content-Encoding: gzip. The default is false.
    blob_content_encoding: bool = false,
    /// Whether the blob host serves ranges. The default is true.
    blob_ranges: bool = true,
    /// Status of cancelling an action that has ended. The default is 400.
    cancel_ended_status: u16 = 400,
    /// Time until a running session is cancelled. The default is 2.
    cancel_time: f64 = 2.0,
    /// Time until a pending session is cancelled. The default is 0.
    cancel_pending_time: f64 = 0.0,
    /// Whether the response to a cancel has the cancellation fields filled. The default is true.
    cancel_fields_at_once: bool = true,
    /// Whether a running session ends as usual although it was cancelled. The default is false.
    cancel_loses: bool = false,
    /// Status of an upload whose name is taken. The default is 400.
    upload_exists_status: u16 = 400,
    /// Status of an upload that is too large. The default is 400.
    upload_too_big_status: u16 = 400,
    /// What happens to an upload without a file name. The default is `file`: that becomes its name.
    unnamed_upload: UnnamedUpload = UnnamedUpload::File,
    /// What a request for a machine by name returns. The default is `newest`.
    machine_by_name: MachineByName = MachineByName::Newest,
    /// What a request for a machine by the id of a merged record returns. The default is `record`.
    merged_machine: MergedMachine = MergedMachine::Record,
    /// Status of that request if it is refused. The default is 404.
    merged_machine_status: u16 = 404,
    /// What an action and a file show as their requestor. The default is `id`.
    requestor: Requestor = Requestor::Id,
    /// Status of a call whose token has another audience. The default is 403.
    wrong_audience_status: u16 = 403,
    /// The audiences that the API accepts. The default is none: all that are known to be used.
    audiences: Option<Vec<String>> = None,
    /// Text of the 403 of a token without the permission. The default is `permissions`.
    missing_role_text: MissingRoleText = MissingRoleText::Permissions,
    /// Whether the tenant may use the API. The default is `active`.
    tenant: TenantState = TenantState::Active,
    /// Order of a list without `$orderby`. The default is `newest`.
    list_order: ListOrder = ListOrder::Newest,
    /// Whether an empty list of machines is a 404. The default is false.
    no_machines_is_404: bool = false,
    /// Whether commands go through Submitted and PendingResource. The default is true.
    command_states: bool = true,
    /// How responses are compressed if the client accepts it. The default is `deflate`, or gzip if
    /// the client accepts only that.
    compression: Compression = Compression::Deflate,
    /// Which permission reads actions, machines and results. The default is `any`: Machine.Read.All
    /// or Machine.ReadWrite.All.
    read_permission: ReadPermission = ReadPermission::Any,
    /// Items per page. The default is 10,000.
    page_size: usize = 10_000,
    /// How long a token is valid. The default is 3,599.
    token_life: f64 = 3599.0,
    /// Host in `@odata.context`. The default is none: the API's own.
    context_host: Option<String> = None,
    /// The origin whose web pages may call the emulator, or `*`. The default is none.
    cors_origin: Option<String> = None,
    /// Whether each response has a Date header, in emulated time. The default is true.
    date_header: bool = true,

    /// Whether a transcript begins with PowerShell's "Transcript started" line. The default is
    /// true.
    transcript_line: bool = true,
    /// Number of NULs at the end of a transcript's output. The default is 1.
    transcript_nuls: usize = 1,
    /// Format of a transcript. The default is `json`.
    transcript_form: TranscriptForm = TranscriptForm::Json,

    /// Response to a submit to a busy machine. The default is `error`. `foreign` is 201 with the
    /// action of the session that is open there.
    busy_answer: BusyResponse = BusyResponse::Error,
    /// How long a new action shows no machine and no commands. The default is 0.
    null_first_body: f64 = 0.0,
    /// Whether a new action shows no comment either during that time. The default is false.
    null_first_comment: bool = false,
    /// How many characters of a comment the API shows. The default is none: all of them.
    comment_limit: Option<usize> = None,
    /// Text that the API shows after a comment. The default is empty.
    comment_suffix: String = String::new(),
    /// How the API shows a comment. The default is `keep`: as sent.
    comment_form: CommentForm = CommentForm::Keep,
    /// How long a new action shows no comment. The default is 0.
    comment_delay: f64 = 0.0,
    /// How long a new action is a 404. The default is 0.
    fresh_404: f64 = 0.0,
    /// How many GETs of an existing action or machine are a 404 first. The default is 0.
    reads_404: u32 = 0,
    /// How long a new action is missing from lists. The default is 0.
    list_lag: f64 = 0.0,
    /// Time from an action's end until its results exist. The default is 0.
    result_lag: f64 = 0.0,
    /// How long a machine stays busy after a cancel. The default is 0.
    busy_after_cancel: f64 = 0.0,
    /// Whether every submit to a machine is a 500 without a body after a session there timed out.
    /// The default is false.
    stuck_after_timeout: bool = false,
    /// Whether a link is wrapped in quotes. The default is false.
    quoted_link: bool = false,
    /// The error of Azure Storage that each download gets. The default is none.
    blob_error: Option<String> = None,
    /// Whether live response is disabled in the tenant. The default is false.
    live_response_disabled: bool = false,

    /// Probability that a call gets a random fault, drawn from the seed. The default is 0.
    fault_rate: f64 = 0.0,
    /// Kinds of random faults. The default is status, drop_before, drop_unread, drop_after,
    /// truncate, garble.
    fault_kinds: Vec<FaultKind> = DEFAULT_FAULT_KINDS.to_vec(),
    /// How many calls the request log keeps. The default is 100,000.
    log_size: usize = 100_000,
}

impl Switches {
    /// Reads switches from a JSON object. Those that it does not name keep their defaults.
    ///
    /// # Errors
    ///
    /// Returns an error if a name or a value is not valid. It lists those that are.
    pub fn from_json(text: &str) -> Result<Self> {
        json_options::parse("switch", text, switch_bounds::bounds)
            .map_err(|error| error.with_hint(json_options::PAGE))
    }

    /// Returns these switches with those that are given.
    ///
    /// # Errors
    ///
    /// As for [`from_json`](Self::from_json).
    pub fn with(&self, given: Map<String, Value>) -> Result<Self> {
        let invalid = |error| Error::invalid(format!("switch: {error}"));
        let mut all = match serde_json::to_value(self).map_err(invalid)? {
            Value::Object(all) => all,
            _ => Map::new(),
        };
        // The names and the values are checked one by one first, for errors that name them.
        Self::from_json(&Value::Object(given.clone()).to_string())?;
        all.extend(given);
        serde_json::from_value(Value::Object(all)).map_err(invalid)
    }
}
