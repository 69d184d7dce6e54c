//! Recognizes transcripts that have no exit code (docs/service.md, section 7.2).

use serde_json::{Map, Value};

/// How PowerShell begins the output of a script, and the file of a transcript.
const TRANSCRIPT_STARTS: [&str; 3] =
    ["Transcript started", "Windows PowerShell transcript start", "PowerShell transcript start"];
const DOCUMENTED: [&str; 4] = ["script_name", "exit_code", "script_output", "script_errors"];

/// Returns whether a text that is not the documented JSON bears the marks of a transcript.
pub(super) fn is_transcript_text(text: &str) -> bool {
    let text = text.trim_start_matches(['\u{feff}', '*']).trim_start();
    TRANSCRIPT_STARTS.iter().any(|start| text.starts_with(start))
}

/// Returns whether the fields are exactly the documented ones, except for the exit code. A field
/// with an unknown name may be a damaged one.
pub(super) fn lacks_only_the_exit_code(fields: &Map<String, Value>) -> bool {
    fields.get("exit_code").is_none_or(Value::is_null)
        && fields.get("script_output").is_some_and(Value::is_string)
        && fields.contains_key("script_errors")
        && fields.keys().all(|name| DOCUMENTED.contains(&name.as_str()))
}
