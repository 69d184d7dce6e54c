//! A probe that runs its own scripts on a machine.

use std::sync::Arc;

use mde_live_response::emulator::{
    Behaviour, Content, Emulator, NewMachine, NonzeroExit, Route, ScriptOutcome, Switches,
};
use mde_live_response::error::Kind;
use mde_live_response::probe::{Profile, probe};
use serde_json::{Value, json};

use crate::probe_support::Tenant;
use crate::support::{HOUR, within};

const OTHER_MACHINE: &str = "host-1.example.test";
const MACHINE: &str = "host-0.example.test";

/// Probes with a machine whose agent runs the scripts.
async fn probe_machine(tenant: &Tenant, machine: &str) -> Profile {
    // The first probe uploads the scripts, whose names the emulator then knows.
    within(HOUR, probe(&tenant.fixture.sessions, Some(OTHER_MACHINE))).await.unwrap();
    let files = tenant.fixture.sessions.pipeline.list_library_files().await.unwrap();
    for file in files.into_iter().map(|file| file.file_name) {
        tenant.emulator().on_script(&file, agent(tenant.emulator().clone(), &file));
    }
    within(HOUR, probe(&tenant.fixture.sessions, Some(machine))).await.unwrap()
}

/// Does what the script of that name would do on the machine.
fn agent(emulator: Emulator, file: &str) -> Behaviour {
    let file = file.to_owned();
    Behaviour::Callback(Arc::new(move |machine, args| {
        let words: Vec<String> = split(args.unwrap_or_default());
        let mut outcome = ScriptOutcome::default();
        if file.contains("-echo-") {
            outcome.stdout = words.iter().map(|word| format!("arg:{word}\n")).collect();
        } else if file.contains("-output-") {
            outcome.stdout = "x".repeat(words[0].parse().unwrap());
        } else if file.contains("-exit-") {
            outcome.exit_code = Some(3);
        } else if file.contains("-create-") {
            for (path, content) in words.iter().zip(["p", ""]) {
                let content = Content::Bytes(content.into());
                emulator.put_remote_file(machine, path, content).unwrap();
            }
        }
        outcome
    }))
}

/// Splits arguments in single quotes.
fn split(args: &str) -> Vec<String> {
    let (mut words, mut quoted, mut word) = (Vec::new(), false, String::new());
    for c in args.replace("''", "\u{1}").chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            '\u{1}' => word.push('\''),
            c => word.push(c),
        }
    }
    words.push(word);
    words
}

#[tokio::test(start_paused = true)]
async fn the_scripts_show_what_only_their_sender_knows() {
    let tenant = Tenant::empty(Switches::default(), "");
    let profile = probe_machine(&tenant, MACHINE).await;
    let facts = Value::Object(profile.facts);
    let kept = json!({
        "plain: kept": 1, "blank: kept": 1, "quote: kept": 1, "not ASCII: kept": 1,
        "refused in the portal: kept": 1,
    });
    assert_eq!(facts["arguments"], kept);
    assert_eq!(facts["output_of_100000"], 100_000);
    assert_eq!(facts["output_of_1000000"], 1_000_000);
    assert_eq!(facts["empty_file"], "Failed");
    assert_eq!(facts["long_comment_kept"], true);
    for (name, expected) in [
        ("accepted_status", json!(201)),
        ("comment_form", json!("keep")),
        ("gzip_files", json!(true)),
        ("live_response_disabled", json!(false)),
        ("nonzero_exit", json!("completed")),
        ("portal_characters_refused", json!(false)),
        ("failed_status", json!("Failed")),
    ] {
        assert_eq!(profile.observed.get(name), Some(&expected), "{name}");
    }
    tenant.fixture.assert_no_violations();
    assert_eq!(tenant.fixture.request_count(Route::RunLiveResponse), 8);
}

#[tokio::test(start_paused = true)]
async fn other_switches_are_found_with_a_machine() {
    let switches = Switches {
        accepted_status: 200,
        portal_characters_refused: true,
        nonzero_exit: NonzeroExit::Failed,
        skipped_status: "Skipped".to_owned(),
        comment_limit: Some(400),
        ..Switches::default()
    };
    let tenant = Tenant::empty(switches, "");
    let profile = probe_machine(&tenant, MACHINE).await;
    for (name, expected) in [
        ("accepted_status", json!(200)),
        ("portal_characters_refused", json!(true)),
        ("nonzero_exit", json!("failed")),
        ("skipped_status", json!("Skipped")),
        ("comment_limit", json!(400)),
    ] {
        assert_eq!(profile.observed.get(name), Some(&expected), "{name}: {:?}", profile.observed);
    }
    tenant.fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_change_to_lower_case_shows_on_our_own_comment() {
    use mde_live_response::emulator::CommentForm;
    let switches = Switches { comment_form: CommentForm::Lower, ..Switches::default() };
    let tenant = Tenant::empty(switches, "");
    let profile = within(HOUR, probe(&tenant.fixture.sessions, Some(MACHINE))).await.unwrap();
    assert_eq!(profile.observed["comment_form"], "lower");
}

#[tokio::test(start_paused = true)]
async fn a_machine_with_bash_gets_scripts_for_bash() {
    let tenant = Tenant::empty(Switches::default(), "");
    let mut linux = NewMachine::named("linux.example.test");
    linux.properties.insert("osPlatform".to_owned(), "Linux".into());
    tenant.emulator().add_machine(linux).unwrap();
    within(HOUR, probe(&tenant.fixture.sessions, Some("linux.example.test"))).await.unwrap();
    let files = tenant.fixture.sessions.pipeline.list_library_files().await.unwrap();
    let ours: Vec<_> = files.iter().filter(|it| it.file_name.starts_with("mlr-probe-")).collect();
    assert!(ours.len() == 5 && ours.iter().all(|it| it.file_name.ends_with(".sh")), "{ours:?}");
    assert!(ours.iter().all(|it| it.description.as_deref().unwrap().contains("mlr")));
}

/// What is not possible is one error, before anything runs.
#[tokio::test(start_paused = true)]
async fn what_is_not_possible_is_one_error() {
    for (machine, kind) in [
        ("nobody.example.test", Kind::NotFound),
        ("offline.example.test", Kind::WaitTimeout),
        ("new.example.test", Kind::InvalidRequest),
        ("unmanaged.example.test", Kind::PermissionDenied),
    ] {
        let tenant = Tenant::empty(Switches::default(), "");
        let add = |machine| tenant.emulator().add_machine(machine).unwrap();
        add(NewMachine { online: false, ..NewMachine::named("offline.example.test") });
        let unmanaged = NewMachine::named("unmanaged.example.test");
        add(NewMachine { remediation_level: false, ..unmanaged });
        let mut new = NewMachine::named("new.example.test");
        new.properties.insert("onboardingStatus".to_owned(), "CanBeOnboarded".into());
        add(new);
        let error = within(HOUR, probe(&tenant.fixture.sessions, Some(machine))).await.unwrap_err();
        assert_eq!(error.kind, kind, "{machine}: {error}");
        assert!(error.hint.is_some(), "{machine}: {error}");
        tenant.fixture.assert_no_violations();
    }
}
