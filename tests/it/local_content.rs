//! Local files and inline code: uploaded once, before the intent, and found again after any fault.

use mde_live_response::check::check;
use mde_live_response::emulator::{Fault, Route, Settings};
use mde_live_response::error::Kind;
use mde_live_response::fleet::{Fleet, RunSpec};
use mde_live_response::model::{Command, LocalContent, Shell};
use mde_live_response::session::SubmitRequest;

use crate::support::{Fixture, HOUR, LOST_RESPONSES, count_accepted, fault, sleep, within};

pub fn local_script(content: &str) -> Command {
    let content = LocalContent::new("triage.ps1", content.to_owned()).unwrap();
    Command::run_local(content, None).unwrap()
}

pub fn submit_of(fixture: &Fixture, machine: usize, content: &str) -> SubmitRequest {
    SubmitRequest { commands: vec![local_script(content)], ..fixture.submit_args_for(machine) }
}

pub fn run_of(machines: &[String], content: &str) -> RunSpec {
    RunSpec {
        machines: machines.iter().map(|machine| (machine.clone(), 0)).collect(),
        commands: vec![vec![local_script(content)]],
        comment: "case 42".to_owned(),
        ..RunSpec::default()
    }
}

/// The routes of all calls, without reads of actions and results.
fn writes(fixture: &Fixture) -> Vec<Route> {
    let written = [Route::UploadLibraryFile, Route::RunLiveResponse];
    let all = fixture.emulator.requests();
    all.iter().map(|request| request.route).filter(|route| written.contains(route)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_upload_comes_before_the_submit_and_only_once() {
    let fixture = Fixture::new();
    for machine in [0, 1] {
        let session = fixture.submit(submit_of(&fixture, machine, "'a'")).await.unwrap();
        assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
    }
    assert_eq!(
        writes(&fixture),
        [Route::UploadLibraryFile, Route::RunLiveResponse, Route::RunLiveResponse]
    );
    assert_eq!(fixture.request_count(Route::ListLibraryFiles), 1);
    // Another client finds it in the library.
    let other = fixture.unrelated_client();
    within(HOUR, other.submit(submit_of(&fixture, 2, "'a'"), None)).await.unwrap();
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), 1);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn simultaneous_submits_share_one_upload() {
    let fixture = Fixture::new();
    let submits = (0..3).map(|at| fixture.submit(submit_of(&fixture, at, "'a'")));
    for submitted in futures_util::future::join_all(submits).await {
        submitted.unwrap();
    }
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), 1);
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_the_upload_leaves_one_file_and_one_action() {
    for kind in LOST_RESPONSES {
        for times in [1, 2] {
            let what = format!("{kind:?} {times}");
            let fixture = Fixture::new();
            fixture.fault("upload", fault(kind), 1, times);
            let session = fixture.submit(submit_of(&fixture, 0, "'a'")).await;
            let session = session.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            let result = within(HOUR, session.result(None, None)).await.unwrap();
            assert!(result.is_ok(), "{what}: {}", result.message);
            assert_eq!(count_accepted(&fixture), 1, "{what}");
            assert_eq!(uploaded_files(&fixture).await.len(), 1, "{what}");
        }
    }
}

async fn uploaded_files(fixture: &Fixture) -> Vec<String> {
    let files = fixture.unrelated_client().pipeline.list_library_files().await.unwrap();
    let names = files.into_iter().map(|file| file.file_name);
    names.filter(|name| name.starts_with("triage-")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_429_of_the_upload_is_waited_for() {
    let fixture = Fixture::new();
    let headers = [("Retry-After".to_owned(), "20".to_owned())].into();
    let wait = Fault { headers, ..Fault::status(429) };
    fixture.fault("upload", wait, 1, 1);
    fixture.submit(submit_of(&fixture, 0, "'a'")).await.unwrap();
    assert_eq!(writes(&fixture).len(), 3);
    let times = fixture.request_times(Route::UploadLibraryFile);
    assert!(times[1] - times[0] >= 20.0, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_submits_nothing() {
    let fixture = Fixture::new();
    fixture.fault("upload", Fault::status(503), 1, 100);
    let error = fixture.submit(submit_of(&fixture, 0, "'a'")).await.unwrap_err();
    assert!(error.retryable && error.machine_id.is_some(), "{error:?}");
    assert_eq!(count_accepted(&fixture), 0);
    assert_eq!(fixture.count_held().await, (0, 0));
    let spec = run_of(&[fixture.machine(0)], "'a'");
    let failed = within(HOUR, Fleet::start(&fixture.sessions, spec)).await;
    assert!(failed.err().unwrap().retryable);
    assert_eq!(count_accepted(&fixture), 0);
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_the_upload_needs_no_second_one() {
    let fixture = Fixture::new();
    let first = fixture.sibling_client();
    let submit =
        SubmitRequest { correlation_id: Some("once".to_owned()), ..submit_of(&fixture, 0, "'a'") };
    // The first process is gone while it reads the list, which it does before the POST.
    fixture.fault("machineactions", Fault::delay(30.0), 1, 1);
    let submitting = first.submit(submit.clone(), None);
    tokio::select! {
        _ = submitting => panic!("it was not stopped in time"),
        () = until_uploaded(&fixture) => {}
    }
    drop(first);
    assert_eq!(count_accepted(&fixture), 0);
    let session = fixture.submit(submit).await.unwrap();
    assert!(!session.adopted);
    assert_eq!(writes(&fixture), [Route::UploadLibraryFile, Route::RunLiveResponse]);
}

async fn until_uploaded(fixture: &Fixture) {
    while fixture.request_count(Route::UploadLibraryFile) == 0 {
        sleep(0.001).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_with_other_content_is_refused_before_any_upload() {
    let fixture = Fixture::new();
    let submit = |content: &str| SubmitRequest {
        correlation_id: Some("once".to_owned()),
        ..submit_of(&fixture, 0, content)
    };
    let first = fixture.submit(submit("'a'")).await.unwrap();
    let error = fixture.submit(submit("'b'")).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest);
    assert!(error.message.contains("other commands"), "{error}");
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), 1);
    let again = fixture.submit(submit("'a'")).await.unwrap();
    assert_eq!((again.id, again.adopted), (first.id, true));
}

#[tokio::test(start_paused = true)]
async fn other_content_under_the_name_is_never_replaced_and_never_run() {
    let fixture = Fixture::new();
    let submit = submit_of(&fixture, 0, "'a'");
    let name = submit.commands[0].library_name().unwrap();
    fixture.emulator.add_library_file(name, b"evil");
    let error = fixture.submit(submit.clone()).await.unwrap_err();
    assert_eq!(error.kind, Kind::AlreadyExists);
    assert_eq!(writes(&fixture), []);
    let pipeline = &fixture.sessions.pipeline;
    let found = check(pipeline, None, Some(&submit.commands)).await;
    assert!(!found.is_ok() && found.findings.iter().any(|it| it.code == "library"), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn content_that_is_too_large_costs_no_request() {
    let fixture = Fixture::new();
    let client = fixture.client_with(|options| options.limits.upload_size = 2);
    let error = client.submit(submit_of(&fixture, 0, "'a'"), None).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest);
    assert!(error.message.contains("triage.ps1 has 3 bytes"), "{error}");
    let spec = run_of(&[fixture.machine(0)], "'a'");
    let error = Fleet::start(&client, spec).await.err().unwrap();
    assert_eq!(error.kind, Kind::InvalidRequest);
    assert!(fixture.emulator.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fleet_uploads_once_and_another_process_resumes_without_an_upload() {
    let machines = 20;
    let fixture = Fixture::with_settings(Settings { machines, ..Settings::default() });
    let spec = run_of(&fixture.emulator.machine_ids(), "'a'");
    let started = within(HOUR, Fleet::start(&fixture.sessions, spec.clone())).await.unwrap();
    let run_id = started.run_id().to_owned();
    drop(started);
    let calls = |route| fixture.request_count(route);
    assert_eq!((calls(Route::UploadLibraryFile), calls(Route::ListLibraryFiles)), (1, 1));
    let other = fixture.sibling_client();
    let resumed = within(HOUR, Fleet::resume(&other, &run_id)).await.unwrap();
    let outcomes = within(10 * HOUR, resumed.outcomes()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.reason == "ok"), "{outcomes:?}");
    // The same run is started again: its files are in the library already.
    let again = RunSpec { run_id: Some(run_id), ..spec };
    within(HOUR, Fleet::start(&other, again)).await.unwrap();
    assert_eq!((calls(Route::UploadLibraryFile), calls(Route::ListLibraryFiles)), (1, 1));
    assert_eq!(count_accepted(&fixture), machines);
}

#[tokio::test(start_paused = true)]
async fn exit_code_323_is_said_to_be_the_agents_own() {
    let fixture = Fixture::with_switches(|switches| switches.script_hash_differs = true);
    let session = fixture.submit(submit_of(&fixture, 0, "'a'")).await.unwrap();
    let result = within(HOUR, session.result(None, None)).await.unwrap();
    assert_eq!(result.reason, "command");
    assert!(result.message.contains("did not run triage-"), "{}", result.message);
    assert!(result.message.contains("323"), "{}", result.message);
    let bash = LocalContent::inline("true", Shell::Bash).unwrap();
    let commands = vec![Command::run_local(bash, None).unwrap()];
    let submit = SubmitRequest { commands, ..fixture.submit_args_for(1) };
    let session = fixture.submit(submit).await.unwrap();
    assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_switches_of_arguments() {
    let run = |args: &str| vec![Command::run_script("echo.ps1", Some(args)).unwrap()];
    let fixture = Fixture::with_switches(|switches| {
        switches.portal_characters_refused = true;
        switches.command_line_limit = Some(10);
    });
    for args in ["a;b", "a&b", "a|b", "a!", "$a", "(a", "a)"] {
        let submit = SubmitRequest { commands: run(args), ..fixture.submit_args() };
        let error = fixture.submit(submit).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest, "{args}");
    }
    for (args, reason) in [("0123456789", "ok"), ("0123456789a", "command")] {
        let submit = SubmitRequest { commands: run(args), ..fixture.submit_args() };
        let session = fixture.submit(submit).await.unwrap();
        let result = within(HOUR, session.result(None, None)).await.unwrap();
        assert_eq!(result.reason, reason, "{}", result.message);
    }
}
