//! What the links of earlier results answer, and what they lead to.

use serde::Deserialize;

use super::history::{duration_of, is_cancelled, is_open};
use super::observations::Observations;
use super::results_blob::{ResultStart, read_blob};
use super::transcript::{TranscriptFacts, read_transcript};
use super::{Answer, ask, get};
use crate::error::{Error, Kind};
use crate::model::{ActionCommand, CommandType, MachineAction};
use crate::operation::Operation;
use crate::pipeline::{ApiResponse, Pipeline};
use crate::secret::SecretUrl;

/// How many results of each kind are read.
const MAX_COMPLETED_SCRIPTS: usize = 24;
const MAX_FAILED_SCRIPTS: usize = 12;
const MAX_FILES: usize = 6;
const MAX_WITHOUT_RESULT: usize = 3;
/// A script that ran for this many seconds has certainly started.
const CERTAINLY_STARTED: f64 = 5.0;
/// The exit code of the agent if the script's hash differs (docs/service.md, section 19).
const HASH_MISMATCH: i64 = 323;

/// One command of an action.
type EndedCommand<'a> = (&'a MachineAction, &'a ActionCommand);

/// What was read of scripts, for what follows from several of them only.
#[derive(Default)]
struct ScriptTotals {
    completed_with_code: u64,
    failed_with_code: u64,
    /// Failed scripts with a transcript, and without.
    failed_with: u64,
    failed_without: u64,
    /// PowerShell scripts that ended with the code of another hash, and others.
    hash_differs: u64,
    hash_agrees: u64,
    /// The creation of the oldest action whose transcript was there, in seconds.
    oldest_transcript: Option<f64>,
}

pub(super) async fn read_results(
    pipeline: &Pipeline,
    actions: &[MachineAction],
    now: f64,
    evidence: &mut Observations,
) {
    let mut scripts = ScriptTotals::default();
    let completed = steps(actions, CommandType::RunScript, "Completed");
    for step in completed.into_iter().take(MAX_COMPLETED_SCRIPTS) {
        read_script(pipeline, step, now, &mut scripts, evidence).await;
    }
    let failed = steps(actions, CommandType::RunScript, "Failed").into_iter();
    // A cancel stops a script: it did not fail.
    let failed = failed.filter(|it| it.1.start_time.is_some() && !is_cancelled(it.0));
    for step in failed.take(MAX_FAILED_SCRIPTS) {
        read_script(pipeline, step, now, &mut scripts, evidence).await;
    }
    scripts.conclude(evidence);
    for step in steps(actions, CommandType::GetFile, "Completed").into_iter().take(MAX_FILES) {
        read_file(pipeline, step, evidence).await;
    }
    read_refusals(pipeline, actions, evidence).await;
}

/// Returns the commands of ended actions, newest first.
fn steps<'a>(
    actions: &'a [MachineAction],
    kind: CommandType,
    status: &str,
) -> Vec<EndedCommand<'a>> {
    let ended = actions.iter().filter(|action| !is_open(action));
    let all = ended.flat_map(|action| action.commands.iter().map(move |it| (action, it)));
    let fits =
        |it: &EndedCommand<'_>| it.1.command.command_type() == Some(kind) && it.1.status == status;
    all.filter(fits).collect()
}

async fn read_script(
    pipeline: &Pipeline,
    (action, command): EndedCommand<'_>,
    now: f64,
    scripts: &mut ScriptTotals,
    evidence: &mut Observations,
) {
    let failed = command.status == "Failed";
    let kind = if failed { "failed script" } else { "completed script" };
    let created = action.creation_date_time_utc.map_or(now, |created| created.to_unix());
    let link = match ask_link(pipeline, action, command.index, kind, evidence).await {
        Answer::Read(link) => link,
        Answer::Refused(_) => {
            let started = duration_of(command).is_some_and(|ran| ran >= CERTAINLY_STARTED);
            // The service may have deleted it: only an older one that is there speaks against that.
            let kept = scripts.oldest_transcript.is_some_and(|oldest| oldest <= created);
            scripts.failed_without += u64::from(failed && started && kept);
            return;
        }
        Answer::Unknown => return,
    };
    let Some(blob) = read_blob(pipeline, &link, evidence).await else { return };
    if failed {
        scripts.failed_with += 1;
    } else {
        let oldest = scripts.oldest_transcript.map_or(created, |before| before.min(created));
        scripts.oldest_transcript = Some(oldest);
    }
    if !blob.is_whole || !blob.is_from_store {
        return;
    }
    let name = command.command.param("ScriptName").unwrap_or_default();
    let is_powershell = name.to_ascii_lowercase().ends_with(".ps1");
    let transcript = read_transcript(&blob.bytes, is_powershell);
    read_form(&transcript, evidence);
    if let Some(code) = transcript.exit_code {
        let timed_out = duration_of(command)
            .is_some_and(|ran| ran >= 0.95 * pipeline.options.limits.script_time);
        scripts.add(code, failed && !timed_out, failed, is_powershell);
    }
}

fn read_form(transcript: &TranscriptFacts, evidence: &mut Observations) {
    if let Some(form) = transcript.form {
        evidence.add("transcript_form", form);
    }
    if let Some(has_line) = transcript.has_line {
        evidence.add("transcript_line", has_line);
    }
    if let Some(nuls) = transcript.nuls {
        evidence.add("transcript_nuls", nuls);
    }
    evidence.fact_at_least("longest_output", transcript.output as u64);
}

impl ScriptTotals {
    fn add(&mut self, code: i64, failed_itself: bool, failed: bool, is_powershell: bool) {
        if code != 0 {
            self.completed_with_code += u64::from(!failed);
            self.failed_with_code += u64::from(failed_itself);
        }
        if is_powershell {
            self.hash_differs += u64::from(code == HASH_MISMATCH);
            self.hash_agrees += u64::from(code != HASH_MISMATCH);
        }
    }

    fn conclude(&self, evidence: &mut Observations) {
        // A script may fail for another reason too, so one that completed decides.
        if self.completed_with_code > 0 {
            evidence.add_many("nonzero_exit", "completed", self.completed_with_code);
        } else {
            evidence.add_many("nonzero_exit", "failed", self.failed_with_code);
        }
        // The service may have lost one.
        if self.failed_with > 0 {
            evidence.add_many("failed_script_has_transcript", true, self.failed_with);
        } else {
            evidence.add_many("failed_script_has_transcript", false, self.failed_without);
        }
        if self.hash_agrees > 0 {
            evidence.add_many("script_hash_differs", false, self.hash_agrees);
        } else {
            evidence.add_many("script_hash_differs", true, self.hash_differs);
        }
    }
}

async fn read_file(
    pipeline: &Pipeline,
    (action, command): EndedCommand<'_>,
    evidence: &mut Observations,
) {
    let answer = ask_link(pipeline, action, command.index, "collected file", evidence).await;
    let Answer::Read(link) = answer else { return };
    let Some(blob) = read_blob(pipeline, &link, evidence).await else { return };
    if blob.bytes.is_empty() || !blob.is_from_store {
        return;
    }
    let path = command.command.param("Path").unwrap_or_default().to_ascii_lowercase();
    // The machine's own file may be compressed.
    if !path.ends_with(".gz") && !path.ends_with(".tgz") {
        read_packing(&blob, evidence);
    }
}

fn read_packing(blob: &ResultStart, evidence: &mut Observations) {
    let flags = match blob.bytes.as_ref() {
        [0x1f, 0x8b, 8, flags, ..] => Some(*flags),
        _ => None,
    };
    evidence.add("gzip_files", flags.is_some());
    let Some(flags) = flags else { return };
    // The bit FNAME of the header (RFC 1952).
    evidence.add("gzip_name", flags & 0x08 != 0);
    evidence.add("blob_content_encoding", blob.is_marked_gzip);
}

/// Asks for links where no result can be.
async fn read_refusals(
    pipeline: &Pipeline,
    actions: &[MachineAction],
    evidence: &mut Observations,
) {
    let puts = steps(actions, CommandType::PutFile, "Completed");
    for (action, command) in puts.into_iter().take(MAX_WITHOUT_RESULT) {
        let answer = ask_link(pipeline, action, command.index, "PutFile", evidence).await;
        if let Answer::Refused(status) = answer {
            evidence.add("no_result_status", status);
        }
    }
    let Some(action) = actions.iter().find(|it| !is_open(it) && !it.commands.is_empty()) else {
        return;
    };
    let last = action.commands.iter().map(|command| command.index).max().unwrap_or(0);
    let beyond = last.saturating_add(1);
    let answer = ask_link(pipeline, action, beyond, "out of range", evidence).await;
    if let Answer::Refused(status) = answer {
        evidence.add("out_of_range_status", status);
    }
}

/// Asks for a link, and records how the service answers.
async fn ask_link(
    pipeline: &Pipeline,
    action: &MachineAction,
    index: u32,
    kind: &'static str,
    evidence: &mut Observations,
) -> Answer<SecretUrl> {
    let path = format!(
        "/api/machineactions/{}/GetLiveResponseResultDownloadLink(index={index})",
        action.id
    );
    if crate::model::check_action_id(&action.id).is_err() {
        return Answer::Unknown;
    }
    let call = get(Operation::GetResultLink, path).with_action_id(&action.id);
    let answer = ask(pipeline, evidence, &call, decode_link).await;
    let (word, answer) = match answer {
        Answer::Read((link, quoted)) => {
            evidence.add("quoted_link", quoted);
            if let Some(expiry) = link.expiry() {
                let life = expiry - pipeline.clock.now();
                // The clocks differ by some seconds.
                evidence.add_duration("link_life", (life / 10.0).round() * 10.0);
            }
            ("a link".to_owned(), Answer::Read(link))
        }
        Answer::Refused(status) => (status.to_string(), Answer::Refused(status)),
        Answer::Unknown => return Answer::Unknown,
    };
    evidence.tally("link_answers", format!("{kind}: {word}"));
    answer
}

/// Returns the link, and whether it was wrapped in quotes.
fn decode_link(response: &ApiResponse) -> crate::error::Result<(SecretUrl, bool)> {
    #[derive(Deserialize)]
    struct LinkBody {
        value: String,
    }
    let link: LinkBody = serde_json::from_slice(&response.body).map_err(|_| invalid_link())?;
    let plain = link.value.trim_matches('"');
    let quoted = plain.len() < link.value.len();
    let url = SecretUrl::parse(plain, "the link of the result").map_err(|_| invalid_link())?;
    Ok((url, quoted))
}

/// The link is a secret, so no error may contain it.
fn invalid_link() -> Error {
    Error::new(Kind::Service, "the service returned no valid link")
}
