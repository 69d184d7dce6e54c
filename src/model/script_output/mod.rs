//! Script output: exit code and output streams, decoded from the payload of the machine (page
//! "get-live-response-result").

mod display;
mod lenient_json;
mod recognize;
mod unpack;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::lenient_json::parse_object;
use self::unpack::UnpackedPayload;
pub use self::unpack::decode_text;
use crate::error::Result;

/// The result of one RunScript command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptOutput {
    pub script_name: String,
    /// `None` if the payload has no exit code.
    pub exit_code: Option<i64>,
    /// Output as sent, without trailing NULs.
    pub stdout: String,
    pub stderr: String,
    /// The payload as received. The other fields are empty if it is not the documented JSON.
    #[serde(with = "base64_bytes")]
    pub raw: Bytes,
}

impl ScriptOutput {
    /// Creates a result with the JSON payload that the service documents.
    pub fn new(
        script_name: impl Into<String>,
        exit_code: Option<i64>,
        stdout: impl Into<String>,
        stderr: impl Into<String>,
    ) -> Self {
        let script_name = script_name.into();
        let (stdout, stderr) =
            (trim_trailing_nuls(stdout.into()), trim_trailing_nuls(stderr.into()));
        let document = json!({
            "script_name": &script_name,
            "exit_code": exit_code,
            "script_output": &stdout,
            "script_errors": &stderr,
        });
        Self { script_name, exit_code, stdout, stderr, raw: document.to_string().into() }
    }

    /// Decodes a payload: JSON, possibly malformed, in plain or in a gzip or zip. Any other payload
    /// is kept in `raw` only.
    ///
    /// `script_name` is used if the payload does not name the script. A payload that unpacks to
    /// more than `limit` bytes is an error.
    pub fn decode(payload: Bytes, script_name: &str, limit: usize) -> Result<Self> {
        Self::recognize(payload, script_name, limit).map(|(output, _)| output)
    }

    /// Decodes a payload, and returns whether it has the form of a transcript.
    pub fn recognize(payload: Bytes, script_name: &str, limit: usize) -> Result<(Self, bool)> {
        let content = unpack::unpack_payload(&payload, limit)?;
        let mut output = Self {
            script_name: script_name.to_owned(),
            exit_code: None,
            stdout: String::new(),
            stderr: String::new(),
            raw: payload.clone(),
        };
        let is_transcript = match content {
            UnpackedPayload::Document(document) => {
                let text = decode_text(&document);
                match parse_object(&text).filter(is_documented) {
                    Some(fields) => {
                        output.fill(&fields);
                        output.exit_code.is_some() || recognize::lacks_only_the_exit_code(&fields)
                    }
                    None => recognize::is_transcript_text(&text),
                }
            }
            UnpackedPayload::Streams { stdout, stderr } => {
                output.stdout = trim_trailing_nuls(decode_text(&stdout));
                output.stderr = trim_trailing_nuls(decode_text(&stderr));
                true
            }
            UnpackedPayload::Broken => false,
        };
        Ok((output, is_transcript))
    }

    // A field of another type is converted if possible, so that the script result is not lost.
    fn fill(&mut self, fields: &Map<String, Value>) {
        let text =
            |name| trim_trailing_nuls(fields.get(name).map(lenient_string).unwrap_or_default());
        let name = text("script_name");
        if !name.trim().is_empty() {
            self.script_name = name;
        }
        self.exit_code = fields.get("exit_code").and_then(lenient_integer);
        self.stdout = text("script_output");
        self.stderr = text("script_errors");
    }

    /// Returns stdout safe to show: without the first line of a PowerShell transcript, escape
    /// sequences, bidirectional controls, and control characters other than line feed and tab.
    pub fn text(&self) -> String {
        display::strip_control_sequences(self.body())
    }

    /// Returns stderr safe to show.
    pub fn stderr_text(&self) -> String {
        display::strip_control_sequences(&self.stderr)
    }

    /// Returns stdout without the first line of a PowerShell transcript.
    pub fn body(&self) -> &str {
        let text = self.stdout.trim_start_matches('\u{feff}');
        let body = match text.strip_prefix("Transcript started, output file is ") {
            Some(started) => started.split_once('\n').map_or("", |(_, body)| body),
            None => text,
        };
        body.trim_start_matches('\u{feff}')
    }

    /// Returns stdout for a JSON parser: from the first line that starts a JSON value, if there is
    /// one.
    pub fn json_text(&self) -> &str {
        lenient_json::skip_noise(self.body().trim())
    }
}

fn is_documented(fields: &Map<String, Value>) -> bool {
    ["exit_code", "script_output", "script_errors"].iter().any(|name| fields.contains_key(*name))
}

fn trim_trailing_nuls(mut text: String) -> String {
    text.truncate(text.trim_end_matches('\0').len());
    text
}

/// Reads a field that should be a string.
fn lenient_string(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().map(lenient_string).collect::<Vec<_>>().join("\n"),
        other => other.to_string(),
    }
}

/// Reads a field that should be an integer.
fn lenient_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().and_then(exact_i64)),
        Value::String(text) => {
            let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
            match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
                Some(hex) => i64::from_str_radix(hex, 16).ok(),
                None => text.parse().ok(),
            }
        }
        _ => None,
    }
}

fn exact_i64(number: f64) -> Option<i64> {
    // Above 2^53, a float no longer identifies one integer.
    (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
}

mod base64_bytes {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
