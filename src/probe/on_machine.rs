//! Runs the probe's own scripts on a machine, through the ordinary submit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::observations::{Observations, service_word};
use super::scripts::{ARGUMENTS, ECHO, OUTPUTS, PORTAL, Scripts};
use crate::check::check;
use crate::error::{Error, Kind, Result};
use crate::model::{Command, Machine, Shell, is_final};
use crate::session::{RunOptions, SessionResult, Sessions, SubmitRequest};

/// Begins the comment of each session. It has capitals, so that a change of them shows.
pub(super) const COMMENT: &str = "Probe of mde-live-response";
/// The characters of the long comment, without its tag.
const LONG_COMMENT: usize = 1000;
/// Seconds after which a session is cancelled that the machine has not picked up.
const MAX_PENDING: f64 = 300.0;

/// Runs the scripts, and records what only their sender knows.
pub(super) async fn run_scripts(
    sessions: &Arc<Sessions>,
    machine: &str,
    evidence: &mut Observations,
) -> Result<()> {
    let machine = sessions.pipeline.resolve_machine(machine).await?;
    let scripts = Scripts::new(shell_of(&machine));
    let mut printing = scripts.printing(&arguments(true))?;
    check_possible(sessions, &machine, &printing).await?;
    let own = Own { sessions, machine: &machine };
    let mut kinds: Vec<_> = ARGUMENTS.into_iter().chain([PORTAL]).collect();
    let printed = match own.run(printing.clone(), COMMENT).await {
        Err(error) if is_refusal(&error) => {
            // The same without those characters: if it is refused too, they are not the reason.
            printing = scripts.printing(&arguments(false))?;
            kinds.pop();
            let printed = own.run(printing, COMMENT).await?;
            evidence.add("portal_characters_refused", true);
            printed
        }
        other => other?,
    };
    evidence.add("live_response_disabled", false);
    read_printed(&printed, &kinds, evidence);
    let long = long_comment();
    let exited = own.run(scripts.exiting()?, &long).await?;
    read_long_comment(&exited, &long, evidence);
    let collected = own.run(scripts.collecting()?, COMMENT).await;
    // Even if it is not known how the session ended: the files may exist.
    own.run(scripts.removing()?, COMMENT).await?;
    let collected = collected?;
    if let Some(empty) = collected.commands.last() {
        evidence.fact("empty_file", service_word(&empty.command.status));
    }
    let accepted = sessions.pipeline.accepted_status.load(Ordering::Relaxed);
    if accepted != 0 {
        evidence.add("accepted_status", accepted);
    }
    Ok(())
}

fn shell_of(machine: &Machine) -> Shell {
    let os = machine.os_platform.as_deref().unwrap_or_default().to_ascii_lowercase();
    if os.is_empty() || os.starts_with("windows") { Shell::PowerShell } else { Shell::Bash }
}

fn arguments(with_portal: bool) -> Vec<&'static str> {
    let portal = with_portal.then_some(PORTAL);
    ARGUMENTS.into_iter().chain(portal).map(|(_, argument)| argument).collect()
}

/// Fails if the sessions cannot start, before anything is uploaded.
async fn check_possible(
    sessions: &Sessions,
    machine: &Machine,
    commands: &[Command],
) -> Result<()> {
    let found = check(&sessions.pipeline, Some(&machine.id), Some(commands)).await;
    let Some(problem) = found.findings.into_iter().find(|finding| finding.level == "error") else {
        return Ok(());
    };
    let kind = match problem.code.as_str() {
        "permission" => Kind::PermissionDenied,
        "token" => Kind::Authentication,
        "state" => Kind::State,
        "results" => Kind::Download,
        "api" => Kind::Service,
        _ => Kind::InvalidRequest,
    };
    let message = format!("the probe cannot run on a machine: {}", problem.message);
    Err(Error::new(kind, message).with_machine(machine.id.clone()).with_hint(problem.hint))
}

/// Returns whether the service refused the submit because of what it contains.
fn is_refusal(error: &Error) -> bool {
    error.kind == Kind::InvalidRequest && error.status == Some(400)
}

/// The sessions of one probe.
struct Own<'a> {
    sessions: &'a Arc<Sessions>,
    machine: &'a Machine,
}

impl Own<'_> {
    async fn run(&self, commands: Vec<Command>, comment: &str) -> Result<SessionResult> {
        let submit = SubmitRequest {
            machine_id: self.machine.id.clone(),
            commands,
            comment: comment.to_owned(),
            correlation_id: None,
            wait_if_busy: false,
        };
        let options =
            RunOptions { cancel_pending_after: Some(MAX_PENDING), ..RunOptions::default() };
        let result = self.sessions.run(submit, options).await?;
        if result.action.has_started() || !is_final(&result.action.status) {
            return Ok(result);
        }
        let message = format!(
            "the machine did not start the probe's session, which ended as {}",
            result.action.status
        );
        Err(Error::new(Kind::WaitTimeout, message)
            .with_machine(self.machine.id.clone())
            .with_action(result.action.id)
            .with_hint("give a machine that is online; client.probe() without one only reads"))
    }
}

/// Reads which arguments arrived unchanged, and how much of the outputs.
fn read_printed(printed: &SessionResult, kinds: &[(&str, &str)], evidence: &mut Observations) {
    let mut texts =
        printed.commands.iter().map(|it| it.script.as_ref().map(|script| script.body()));
    if let Some(Some(echoed)) = texts.next() {
        for (kind, argument) in kinds {
            let line = format!("{ECHO}{argument}");
            let arrived = echoed.lines().any(|it| it.trim_end() == line);
            evidence.tally(
                "arguments",
                format!("{kind}: {}", if arrived { "kept" } else { "changed" }),
            );
        }
    }
    for (length, text) in OUTPUTS.into_iter().zip(texts) {
        let Some(text) = text else { continue };
        let got = text.bytes().filter(|byte| *byte == b'x').count();
        evidence.fact(&format!("output_of_{length}"), got);
    }
}

fn long_comment() -> String {
    let mut comment = format!("{COMMENT}, long: ");
    comment.extend("0123456789".chars().cycle().take(LONG_COMMENT - comment.len()));
    comment
}

/// A long comment begins with the tag. So its end shows where the service cuts.
fn read_long_comment(result: &SessionResult, sent: &str, evidence: &mut Observations) {
    let Some(shown) = result.action.requestor_comment.as_deref() else { return };
    let Some((_, text)) = shown.split_once("] ") else { return };
    if text.len() < sent.len() && sent.starts_with(text) {
        evidence.add("comment_limit", shown.chars().count());
    }
    evidence.fact("long_comment_kept", text == sent);
}
