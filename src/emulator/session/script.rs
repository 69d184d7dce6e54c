//! The behaviour of scripts, and the transcripts of their runs (docs/service.md, section 7.2).

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::emulator::control::switches::{Switches, TranscriptForm};
use crate::emulator::wire::compress::gzip;

/// The outcome of a script run.
#[derive(Clone, Debug, PartialEq)]
pub struct ScriptOutcome {
    pub stdout: String,
    pub stderr: String,
    /// `None` leaves `exit_code` out of the transcript. The default is 0.
    pub exit_code: Option<i64>,
    /// How long the script runs, in seconds of the emulator's clock. The default is 1.
    pub duration: f64,
    /// Makes the command end `Failed` with this error. The default is `None`.
    pub fails: Option<String>,
    /// The bytes of the result, in place of a transcript. The default is `None`.
    pub raw: Option<Bytes>,
}

impl Default for ScriptOutcome {
    fn default() -> Self {
        Self {
            stdout: String::new(),
            stderr: String::new(),
            exit_code: Some(0),
            duration: 1.0,
            fails: None,
            raw: None,
        }
    }
}

/// A callback for a script: it gets the machine id and the arguments, and returns the outcome.
// It runs without the emulator's lock, because it may call the emulator itself.
pub type ScriptFn = Arc<dyn Fn(&str, Option<&str>) -> ScriptOutcome + Send + Sync>;

/// What a script does: always the same, or what a callback returns.
#[derive(Clone)]
pub enum Behaviour {
    Fixed(ScriptOutcome),
    Callback(ScriptFn),
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(outcome) => outcome.fmt(f),
            Self::Callback(_) => f.write_str("Callback(..)"),
        }
    }
}

impl From<ScriptOutcome> for Behaviour {
    fn from(outcome: ScriptOutcome) -> Self {
        Self::Fixed(outcome)
    }
}

/// Returns the outcome of a script without a configured behaviour: it prints its name and
/// arguments.
pub fn echo(name: &str, args: Option<&str>) -> ScriptOutcome {
    let line = args.map_or_else(|| name.to_owned(), |args| format!("{name} {args}"));
    ScriptOutcome { stdout: format!("{line}\n"), ..ScriptOutcome::default() }
}

/// The documented transcript, with its fields in order (page "get-live-response-result").
#[derive(Serialize)]
struct Transcript<'a> {
    script_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i64>,
    script_output: &'a str,
    script_errors: &'a str,
}

/// Returns the blob of a RunScript result, in the form that the switches select.
pub fn transcript(name: &str, outcome: &ScriptOutcome, id: Uuid, switches: &Switches) -> Bytes {
    if let Some(raw) = &outcome.raw {
        return raw.clone();
    }
    // Only PowerShell on Windows writes this line into its transcript.
    let mut output = String::new();
    if switches.transcript_line && name.to_ascii_lowercase().ends_with(".ps1") {
        output = format!(
            "Transcript started, output file is C:\\ProgramData\\Microsoft\\Windows Defender \
             Advanced Threat Protection\\Temp\\PSScriptOutputs\\PSScript_Transcript_{{{}}}.txt\n",
            id.hyphenated().to_string().to_uppercase()
        );
    }
    output.push_str(&outcome.stdout);
    output.extend(std::iter::repeat_n('\0', switches.transcript_nuls));
    let transcript = Transcript {
        script_name: name,
        exit_code: outcome.exit_code,
        script_output: &output,
        script_errors: &outcome.stderr,
    };
    let text = serde_json::to_string(&transcript).unwrap_or_default();
    match switches.transcript_form {
        TranscriptForm::Json => text.into(),
        // Microsoft's sample has a raw newline inside a JSON string, which strict parsers reject.
        TranscriptForm::RawNewline => text.replace("\\n", "\n").into(),
        TranscriptForm::Bom => format!("\u{feff}{text}\0").into(),
        TranscriptForm::Gzip => gzip(text.as_bytes(), None).into(),
        TranscriptForm::Zip => zip_stdout(outcome.stdout.as_bytes()).into(),
        TranscriptForm::Text => outcome.stdout.clone().into(),
    }
}

/// Returns a ZIP archive with an entry `stdout`, as one client received it from Linux
/// (docs/service.md, section 7.2).
fn zip_stdout(stdout: &[u8]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    // Writing to memory cannot fail.
    let _ = archive.start_file("stdout", options);
    let _ = archive.write_all(stdout);
    archive.finish().map(std::io::Cursor::into_inner).unwrap_or_default()
}
