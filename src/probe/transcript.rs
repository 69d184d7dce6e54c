//! The form of a transcript. Of its text, only counts and the exit code are kept.

use std::io::Read;

use serde_json::{Map, Value};

use crate::model::{decode_text, parse_object};
use crate::transfer::is_markup;

/// The most bytes of an unpacked transcript.
const MAX_BYTES: u64 = 8 << 20;
const STARTED: &str = "Transcript started";

/// What a transcript shows.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TranscriptFacts {
    /// A value of the switch `transcript_form`.
    pub form: Option<&'static str>,
    /// Whether the output begins as PowerShell begins a transcript.
    pub has_line: Option<bool>,
    /// The NULs at the end of the output.
    pub nuls: Option<usize>,
    pub exit_code: Option<i64>,
    /// The characters of the output.
    pub output: usize,
}

/// Reads a whole payload. `is_powershell`: the script's name ends in `.ps1`.
pub(super) fn read_transcript(payload: &[u8], is_powershell: bool) -> TranscriptFacts {
    match payload {
        [] => TranscriptFacts::default(),
        [b'P', b'K', 3, 4, ..] => {
            TranscriptFacts { form: Some("zip"), ..TranscriptFacts::default() }
        }
        [0x1f, 0x8b, ..] => {
            let mut plain = Vec::new();
            let unpacked =
                flate2::read::GzDecoder::new(payload).take(MAX_BYTES).read_to_end(&mut plain);
            match unpacked.ok().and_then(|_| read_document(&plain, is_powershell)) {
                Some((_, transcript)) => TranscriptFacts { form: Some("gzip"), ..transcript },
                None => TranscriptFacts::default(),
            }
        }
        [0xef, 0xbb, 0xbf, ..] => match read_document(payload, is_powershell) {
            Some((_, transcript)) => TranscriptFacts { form: Some("bom"), ..transcript },
            None => TranscriptFacts::default(),
        },
        _ => match read_document(payload, is_powershell) {
            Some((form, transcript)) => TranscriptFacts { form, ..transcript },
            // A page of a proxy is no transcript.
            None if is_markup(payload) || payload.starts_with(b"{") => TranscriptFacts::default(),
            None => {
                let text = decode_text(payload);
                let has_line = text.starts_with(STARTED).then_some(true);
                let output = text.chars().count();
                TranscriptFacts {
                    form: Some("text"),
                    has_line,
                    output,
                    ..TranscriptFacts::default()
                }
            }
        },
    }
}

/// Reads the documented JSON, and whether it is strictly JSON.
fn read_document(
    payload: &[u8],
    is_powershell: bool,
) -> Option<(Option<&'static str>, TranscriptFacts)> {
    let text = decode_text(payload);
    let text = text.trim_matches(|c: char| c == '\0' || c == '\u{feff}' || c.is_whitespace());
    let strict: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    let is_strict = strict.is_some();
    let fields = strict.or_else(|| parse_object(text))?;
    let output = fields.get("script_output")?.as_str()?;
    let errors = fields.get("script_errors").and_then(Value::as_str).unwrap_or_default();
    // Without a line end, both forms are the same.
    let has_line_end = output.contains('\n') || errors.contains('\n');
    let form = has_line_end.then_some(if is_strict { "json" } else { "raw_newline" });
    let printed = output.trim_end_matches('\0');
    let transcript = TranscriptFacts {
        form: None,
        has_line: is_powershell.then(|| output.starts_with(STARTED)),
        nuls: Some(output.len() - printed.len()),
        exit_code: fields.get("exit_code").and_then(Value::as_i64),
        output: printed.chars().count(),
    };
    Some((form, transcript))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(payload: &[u8]) -> TranscriptFacts {
        read_transcript(payload, true)
    }

    fn json(output: &str) -> String {
        serde_json::json!({"script_name": "a", "exit_code": 3, "script_output": output}).to_string()
    }

    #[test]
    fn the_form_is_known_by_the_bytes() {
        let strict = json("Transcript started, x\nout\n\0\0");
        let found = read(strict.as_bytes());
        assert_eq!((found.form, found.has_line, found.nuls), (Some("json"), Some(true), Some(2)));
        assert_eq!(found.exit_code, Some(3));
        let raw = strict.replace("\\n", "\n");
        assert_eq!(read(raw.as_bytes()), TranscriptFacts { form: Some("raw_newline"), ..found });
        let bom = format!("\u{feff}{}\0", json("out"));
        let found = read(bom.as_bytes());
        assert_eq!((found.form, found.has_line, found.nuls), (Some("bom"), Some(false), Some(0)));
        assert_eq!(read(json("out").as_bytes()).form, None);
        assert_eq!(read(b"just text").form, Some("text"));
        assert_eq!(read(b"PK\x03\x04..").form, Some("zip"));
    }

    #[test]
    fn what_is_no_transcript_shows_nothing() {
        for payload in [&b""[..], b"<html>", b"{\"error\": 1}", b"\x1f\x8bbroken", b"\xef\xbb\xbf<"]
        {
            assert_eq!(read(payload), TranscriptFacts::default(), "{payload:?}");
        }
    }
}
