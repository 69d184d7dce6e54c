//! The words that some switches have as values.

use serde::{Deserialize, Serialize};

/// Declares an enum whose values are words in JSON.
macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($word:ident),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($word),+ }
    };
}

string_enum! {
    /// `full`: the captured text with the seconds to wait. `plain`: TooManyRequests without a hint.
    /// `empty`: no body. `html`: a gateway's page.
    ThrottleResponse { Full, Plain, Empty, Html }
}
string_enum! {
    /// `open`: Pending and InProgress. `running`: only InProgress.
    CapCounts { Open, Running }
}
string_enum! {
    /// `sliding`: the time before each call. `fixed`: windows laid end to end.
    WindowKind { Sliding, Fixed }
}
string_enum! {
    /// `fails`: accepted, then the command fails. `refused`: the submit is a 400.
    MissingFile { Fails, Refused }
}
string_enum! {
    /// `completed`: the command succeeds. `failed`: the command fails.
    NonzeroExit { Completed, Failed }
}
string_enum! {
    /// `file`: the file is stored as `file`. `refused`: the upload is a 400.
    UnnamedUpload { File, Refused }
}
string_enum! {
    /// `newest`: the machine seen last. `refused`: 404, only ids are found.
    MachineByName { Newest, Refused }
}
string_enum! {
    /// `record`: the merged record. `refused`: an error.
    MergedMachine { Record, Refused }
}
string_enum! {
    /// `permissions`: names the application permissions. `roles`: those of the call and those of
    /// the token.
    MissingRoleText { Permissions, Roles }
}
string_enum! {
    /// `inactive`, `no_license`: each call is a 401. `suspended`: each call is a 403.
    TenantState { Active, Inactive, NoLicense, Suspended }
}
string_enum! {
    /// `id`: the application's client id. `name`: its display name.
    Requestor { Id, Name }
}
string_enum! {
    /// `newest`: newest first. `oldest`: oldest first.
    ListOrder { Newest, Oldest }
}
string_enum! {
    /// `deflate`: with the zlib wrapper. `raw_deflate`: without it.
    Compression { Deflate, RawDeflate, Gzip, None }
}
string_enum! {
    /// `any`: Machine.Read.All or Machine.ReadWrite.All. `read_write`: Machine.Read.All is
    /// Forbidden.
    ReadPermission { Any, ReadWrite }
}
string_enum! {
    /// `raw_newline` is not valid JSON. `text` is not JSON at all.
    TranscriptForm { Json, RawNewline, Bom, Gzip, Zip, Text }
}
string_enum! {
    /// `escape`: for HTML, brackets included. `percent`: for a URL.
    CommentForm { Keep, Escape, Percent, Upper, Lower, Null, Empty }
}
string_enum! {
    /// `error`: 400. `foreign`: 201 with the action of the session that is open on the machine.
    BusyResponse { Error, Foreign }
}
