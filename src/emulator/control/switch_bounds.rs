//! The bounds of the switches' values, where their types do not express them.

use std::ops::RangeInclusive;

use serde_json::Value;

/// What Azure Storage answers besides a result, and with which status (docs/service.md, section 19).
pub const BLOB_ERRORS: [(&str, u16); 4] = [
    ("AuthorizationFailure", 403),
    ("AuthorizationSourceIPMismatch", 403),
    ("BlobNotFound", 404),
    ("PublicAccessNotPermitted", 409),
];

/// Returns what a switch's value must be if it is out of bounds.
pub fn bounds(name: &str, value: &Value) -> Option<&'static str> {
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
        "comment_limit" | "command_line_limit" => {
            (whole(0..=1_000_000) || value.is_null(), "a whole number, 0 to 1000000, or null")
        }
        "audiences" => {
            let strings = |items: &Vec<Value>| items.iter().all(Value::is_string);
            let fits = value.is_null() || value.as_array().is_some_and(strings);
            (fits, "a list of audiences or null")
        }
        "reads_404" => (whole(0..=1_000_000), "a whole number, 0 to 1000000"),
        "blob_error" => {
            let codes = BLOB_ERRORS.map(|(code, _)| code);
            let fits = value.is_null() || value.as_str().is_some_and(|it| codes.contains(&it));
            (
                fits,
                "AuthorizationFailure, AuthorizationSourceIPMismatch, BlobNotFound, \
                    PublicAccessNotPermitted or null",
            )
        }
        "cors_origin" => (value.is_string() || value.is_null(), "an origin, '*' or null"),
        "context_host" => (value.is_string() || value.is_null(), "a URL or null"),
        _ => return None,
    };
    (!fits).then_some(wanted)
}
