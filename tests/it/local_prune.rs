//! `library.prune`: it deletes what local commands uploaded, never what something may still need.

use mde_live_response::emulator::{Route, ScriptOutcome, Settings};
use mde_live_response::fleet::Fleet;
use mde_live_response::library::{LibraryPlan, prune};
use mde_live_response::session::{Sessions, SubmitRequest};

use crate::local_content::{local_script, run_of, submit_of};
use crate::support::{Fixture, HOUR, sleep, within};

async fn pruned(sessions: &Sessions, older_than: f64) -> LibraryPlan {
    within(HOUR, prune(&sessions.pipeline, &sessions.local_files, older_than, false)).await.unwrap()
}

/// Returns the name that the library gives this content.
fn name_of(content: &str) -> String {
    local_script(content).library_name().unwrap().to_owned()
}

/// Submits the content and waits for the end.
async fn run(fixture: &Fixture, content: &str) {
    let session = fixture.submit(submit_of(fixture, 0, content)).await.unwrap();
    within(3 * HOUR, session.result(None, None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_old_files_of_local_commands_are_deleted() {
    let fixture = Fixture::new();
    run(&fixture, "'old'").await;
    sleep(5000.0).await;
    run(&fixture, "'new'").await;
    let others = ["echo.ps1", "helper.exe"].map(str::to_owned).to_vec();
    // It looks like ours, but its description is not ours.
    let looks_alike = name_of("'other'");
    fixture.emulator.add_library_file(&looks_alike, b"'other'");
    let (pipeline, files) = (&fixture.sessions.pipeline, &fixture.sessions.local_files);
    let expected = LibraryPlan {
        delete: vec![name_of("'old'")],
        leave: vec![name_of("'new'")],
        others: [others, vec![looks_alike]].concat(),
        ..LibraryPlan::default()
    };
    let planned = within(HOUR, prune(pipeline, files, 4000.0, true)).await.unwrap();
    assert_eq!(planned, expected);
    assert_eq!(fixture.request_count(Route::DeleteLibraryFile), 0);
    assert_eq!(pruned(&fixture.sessions, 4000.0).await, expected);
    assert_eq!(fixture.request_count(Route::DeleteLibraryFile), 1);
    // The next submit uploads it again, although this client had uploaded it before.
    run(&fixture, "'old'").await;
    assert_eq!(fixture.request_count(Route::UploadLibraryFile), 3);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_any_client_keeps_its_file() {
    let fixture = Fixture::new();
    let machine = fixture.machine(0);
    fixture.emulator.set_online(&machine, false).unwrap();
    let other = fixture.unrelated_client();
    let session = within(HOUR, other.submit(submit_of(&fixture, 0, "'a'"), None)).await.unwrap();
    assert_eq!(pruned(&fixture.sessions, 0.0).await.leave, [name_of("'a'")]);
    fixture.emulator.set_online(&machine, true).unwrap();
    assert!(within(3 * HOUR, session.result(None, None)).await.unwrap().is_ok());
    assert_eq!(pruned(&fixture.sessions, 0.0).await.delete, [name_of("'a'")]);
}

#[tokio::test(start_paused = true)]
async fn a_submit_in_the_queue_and_one_in_doubt_keep_their_files() {
    let fixture = Fixture::new();
    let slow = ScriptOutcome { duration: 500.0, ..ScriptOutcome::default() };
    fixture.emulator.on_script("echo.ps1", slow);
    fixture.submit(fixture.submit_args()).await.unwrap();
    let waiting = SubmitRequest { wait_if_busy: true, ..submit_of(&fixture, 0, "'queued'") };
    let sessions = fixture.sessions.clone();
    let queued = tokio::spawn(async move { sessions.submit(waiting, None).await });
    sleep(100.0).await;
    // A POST whose response is lost while the list cannot be read.
    fixture.network.submit_delays.lock().unwrap().push_back(1e5);
    let in_doubt = SubmitRequest {
        correlation_id: Some("doubt".to_owned()),
        ..submit_of(&fixture, 1, "'doubt'")
    };
    let sessions = fixture.sessions.clone();
    let doubtful = tokio::spawn(async move { sessions.submit(in_doubt, None).await });
    sleep(20.0).await;
    let mut kept = vec![name_of("'doubt'"), name_of("'queued'")];
    kept.sort();
    let plan = pruned(&fixture.sessions, 0.0).await;
    assert_eq!((plan.leave, plan.delete), (kept, vec![]));
    within(HOUR, queued).await.unwrap().unwrap();
    doubtful.abort();
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_run_keeps_its_files_until_it_ends() {
    let fixture = Fixture::with_settings(Settings { machines: 20, ..Settings::default() });
    let spec = run_of(&fixture.emulator.machine_ids(), "'a'");
    let started = within(HOUR, Fleet::start(&fixture.sessions, spec)).await.unwrap();
    let run_id = started.run_id().to_owned();
    drop(started);
    sleep(1000.0).await;
    assert_eq!(pruned(&fixture.sessions, 0.0).await.leave, [name_of("'a'")]);
    let resumed = within(HOUR, Fleet::resume(&fixture.sessions, &run_id)).await.unwrap();
    let outcomes = within(10 * HOUR, resumed.outcomes()).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.reason == "ok"), "{outcomes:?}");
    assert_eq!(pruned(&fixture.sessions, 0.0).await.delete, [name_of("'a'")]);
}

#[tokio::test(start_paused = true)]
async fn an_open_session_that_does_not_show_its_commands_keeps_every_file() {
    let fixture = Fixture::with_switches(|switches| switches.null_first_body = 600.0);
    run(&fixture, "'a'").await;
    let other = fixture.unrelated_client();
    fixture.script("echo.ps1", 500.0);
    within(HOUR, other.submit(fixture.submit_args_for(1), None)).await.unwrap();
    assert_eq!(pruned(&fixture.sessions, 0.0).await.leave, [name_of("'a'")]);
    sleep(700.0).await;
    assert_eq!(pruned(&fixture.sessions, 0.0).await.delete, [name_of("'a'")]);
}
