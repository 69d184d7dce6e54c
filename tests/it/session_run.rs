//! Tests of whole runs: the documented example, results of every kind, and 60 sessions at once.

use std::sync::{Arc, Mutex};

use mde_live_response::digest::sha256_hex;
use mde_live_response::emulator::{
    Content, Fault, FaultKind, NonzeroExit, Route, ScriptOutcome, Settings,
};
use mde_live_response::error::Kind;
use mde_live_response::model::Command;
use mde_live_response::session::{RunOptions, SubmitRequest};
use mde_live_response::transfer::Target;

use crate::support::{Fixture, HOUR, TempDir, fault, run_script, within};

const DUMP: &str = r"C:\windows\TEMP\OfficeClickToRun.dmp.zip";

fn save_to(folder: &TempDir) -> RunOptions {
    RunOptions { save_to: Some(folder.0.clone().into()), ..RunOptions::default() }
}

fn put_remote(fixture: &Fixture, path: &str, content: &[u8]) {
    fixture.emulator.put_remote_file("*", path, Content::Bytes(content.to_vec().into())).unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_documentation_example() {
    let (fixture, folder) = (Fixture::new(), TempDir::new());
    let outcome = ScriptOutcome {
        stdout: "Dumped OfficeClickToRun\n".to_owned(),
        ..ScriptOutcome::default()
    };
    fixture.emulator.on_script("minidump.ps1", outcome);
    let dump: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    put_remote(&fixture, DUMP, &dump);
    let commands = vec![
        Command::put_file("helper.exe").unwrap(),
        Command::run_script("minidump.ps1", Some("OfficeClickToRun")).unwrap(),
        Command::get_file(DUMP).unwrap(),
    ];
    let comment = "Testing Live Response API".to_owned();
    let submit = SubmitRequest { commands, comment, ..fixture.submit_args() };
    let updates = Arc::new(Mutex::new(Vec::new()));
    let seen = updates.clone();
    let on_update = Some(Arc::new(move |action: &mde_live_response::model::MachineAction| {
        seen.lock().unwrap().push(action.status.clone());
    }) as mde_live_response::session::UpdateCallback);
    let result = fixture.run(submit, RunOptions { on_update, ..save_to(&folder) }).await.unwrap();

    assert_eq!((result.is_ok(), result.reason.as_str()), (true, "ok"), "{}", result.message);
    let [put, script, got] = &result.commands[..] else { panic!("{:?}", result.commands) };
    assert!(put.script.is_none() && put.file.is_none() && put.error.is_none());
    let script = script.script.as_ref().unwrap();
    assert_eq!((script.script_name.as_str(), script.exit_code), ("minidump.ps1", Some(0)));
    assert!(script.stdout.ends_with("Dumped OfficeClickToRun\n"), "{:?}", script.stdout);
    let file = got.file.as_ref().unwrap();
    assert_eq!((file.size, &file.sha256), (1_200_000, &sha256_hex(&dump)));
    let name = format!("ws-0001.example.test_{}/2_OfficeClickToRun.dmp.zip", result.action.id);
    assert_eq!(folder.collected_files(), std::slice::from_ref(&name));
    assert_eq!(std::fs::read(folder.0.join(&name)).unwrap(), dump);
    assert_eq!(file.path.as_deref(), folder.0.join(&name).to_str());

    let asked: Vec<_> = fixture
        .emulator
        .requests()
        .into_iter()
        .map(|request| (request.route, request.path))
        .collect();
    let links: Vec<_> = asked.iter().filter(|(route, _)| *route == Route::GetResultLink).collect();
    assert!(
        links.len() == 2 && !links.iter().any(|(_, path)| path.contains("index=0")),
        "{links:?}"
    );
    let calls = asked
        .iter()
        .filter(|(route, _)| !matches!(route, Route::GetResultLink | Route::Blob))
        .count();
    assert!(calls <= 4, "{calls} calls: {asked:?}");
    let updates = updates.lock().unwrap();
    assert!(
        updates.first().unwrap() == "Pending" && updates.last().unwrap() == "Succeeded",
        "{updates:?}"
    );
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_script_that_exits_with_a_nonzero_code() {
    let fixture = Fixture::new();
    let outcome =
        ScriptOutcome { exit_code: Some(3), stderr: "no".into(), ..ScriptOutcome::default() };
    fixture.emulator.on_script("echo.ps1", outcome);
    let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
    assert_eq!((result.is_ok(), result.reason.as_str()), (false, "script"));
    assert!(result.message.contains("echo.ps1 exited with 3 on ws-0001"), "{}", result.message);
    assert_eq!(result.commands[0].script.as_ref().unwrap().stderr, "no");
}

#[tokio::test(start_paused = true)]
async fn a_failed_command_has_its_transcript_and_later_commands_are_skipped() {
    for keeps in [true, false] {
        let (fixture, folder) =
            (Fixture::with_switches(|s| s.failed_script_has_transcript = keeps), TempDir::new());
        let outcome = ScriptOutcome {
            stdout: "half\n".into(),
            fails: Some("it broke".into()),
            ..ScriptOutcome::default()
        };
        fixture.emulator.on_script("echo.ps1", outcome);
        put_remote(&fixture, "/tmp/a", b"a");
        let commands = vec![
            run_script("echo.ps1"),
            run_script("later.ps1"),
            Command::get_file("/tmp/a").unwrap(),
        ];
        let result = fixture
            .run(SubmitRequest { commands, ..fixture.submit_args() }, save_to(&folder))
            .await
            .unwrap();
        assert_eq!((result.is_ok(), result.reason.as_str()), (false, "command"));
        assert!(
            result.message.contains("it broke") && result.message.contains("echo.ps1"),
            "{}",
            result.message
        );
        let skipped: Vec<_> = result.commands.iter().map(|command| command.skipped).collect();
        assert_eq!(skipped, [false, true, true]);
        assert_eq!(result.commands[0].script.is_some(), keeps);
        assert!(result.commands.iter().all(|command| command.error.is_none()));
        assert!(folder.files().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_reason_is_what_went_wrong_first() {
    let fixture = Fixture::new();
    let exit = ScriptOutcome { exit_code: Some(3), ..ScriptOutcome::default() };
    fixture.emulator.on_script("first.ps1", exit);
    let fails = Some("could not upload the output to blob storage".to_owned());
    fixture.emulator.on_script("second.ps1", ScriptOutcome { fails, ..ScriptOutcome::default() });
    for (scripts, reason) in [
        (["first.ps1", "second.ps1"], "script"),
        (["echo.ps1", "second.ps1"], "command"),
        (["second.ps1", "first.ps1"], "command"),
    ] {
        let commands = scripts.map(run_script).to_vec();
        let submit = SubmitRequest { commands, ..fixture.submit_args() };
        let result = fixture.run(submit, RunOptions::default()).await.unwrap();
        assert_eq!(result.reason, reason, "{}", result.message);
        let cure = result.message.contains("*.blob.core.windows.net");
        assert_eq!(cure, reason == "command", "{}", result.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_host_of_results_costs_a_session_two_minutes_at_most() {
    let fixture = Fixture::new();
    fixture.network.set_outage(crate::network::Outage::Results);
    let commands = vec![run_script("echo.ps1"); 10];
    let session =
        fixture.submit(SubmitRequest { commands, ..fixture.submit_args() }).await.unwrap();
    within(HOUR, session.wait(None, None, None)).await.unwrap();
    let result = within(120, session.result(None, None)).await.unwrap();
    assert_eq!((result.reason.as_str(), result.errors().count()), ("fetch", 10));
}

#[tokio::test(start_paused = true)]
async fn a_check_probes_the_host_of_results() {
    let fixture = Fixture::new();
    let findings = || async {
        let check = mde_live_response::check::check(&fixture.sessions.pipeline, None, None).await;
        check.findings.into_iter().filter(|finding| finding.code == "results").collect::<Vec<_>>()
    };
    assert!(findings().await.is_empty(), "without a result its host is not known");
    fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
    assert!(findings().await.is_empty());
    fixture.network.set_outage(crate::network::Outage::Results);
    let found = findings().await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].level, "error");
}

#[tokio::test(start_paused = true)]
async fn a_nonzero_exit_may_be_a_failed_command() {
    let fixture = Fixture::with_switches(|switches| switches.nonzero_exit = NonzeroExit::Failed);
    fixture
        .emulator
        .on_script("echo.ps1", ScriptOutcome { exit_code: Some(3), ..ScriptOutcome::default() });
    let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
    assert_eq!(result.reason, "command");
    assert_eq!(result.commands[0].script.as_ref().unwrap().exit_code, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_script_that_runs_too_long() {
    for status in ["Failed", "TimeOut"] {
        let fixture =
            Fixture::with_switches(|switches| switches.script_timeout_status = status.into());
        fixture.script("echo.ps1", 1e6);
        let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
        assert_eq!(
            result.reason,
            if status == "Failed" { "command" } else { "timed_out" },
            "{}",
            result.message
        );
        assert_eq!(result.action.status, status);
    }
}

#[tokio::test(start_paused = true)]
async fn late_results_and_links_that_fail_at_first_are_retried() {
    for (change, route, broken) in [
        (true, "resultlink", None),
        (false, "resultlink", Some(Fault::status(404))),
        (false, "resultlink", Some(Fault::status(400))),
        (false, "resultlink", Some(Fault::status(503))),
        (false, "resultlink", Some(fault(FaultKind::DropAfter))),
        (false, "resultlink", Some(fault(FaultKind::DropUnread))),
        (false, "blob", Some(Fault::status(403))),
        (false, "blob", Some(Fault::status(404))),
        (false, "blob", Some(Fault::status(503))),
        (false, "blob", Some(fault(FaultKind::DropBefore))),
        (false, "blob", Some(fault(FaultKind::DropUnread))),
    ] {
        let fixture = Fixture::with_switches(|switches| {
            switches.result_lag = if change { 12.0 } else { 0.0 }
        });
        if let Some(fault) = broken.clone() {
            fixture.fault(route, fault, 1, 2);
        }
        let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
        assert!(result.is_ok(), "{route} {broken:?}: {}", result.message);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_result_is_the_error_of_its_command() {
    let garbled_gzip = |fixture: &Fixture| fixture.fault("blob", fault(FaultKind::Garble), 2, 20);
    let cut_gzip = |fixture: &Fixture| {
        fixture.fault("blob", Fault { keep: Some(40), ..fault(FaultKind::Truncate) }, 2, 20)
    };
    let expired =
        |fixture: &Fixture| fixture.emulator.set_switches(|switches| switches.link_life = 0.0);
    let gone = |fixture: &Fixture| fixture.fault("resultlink", Fault::status(404), 1, 1000);
    let refused = |fixture: &Fixture| {
        let body = r#"{"error":{"code":"Forbidden","message":"no","target":"t"}}"#.to_owned();
        fixture.fault("resultlink", Fault { body, ..Fault::status(403) }, 1, 1000);
    };
    type Break = fn(&Fixture);
    let table: [(&str, Break, [bool; 2]); 5] = [
        ("a garbled gzip", garbled_gzip, [false, true]),
        ("a gzip cut short", cut_gzip, [false, true]),
        ("a link that has expired", expired, [true, true]),
        ("a result that is gone", gone, [true, true]),
        ("a permission that is missing", refused, [true, true]),
    ];
    for (what, break_results, errors) in table {
        let (fixture, folder) = (Fixture::new(), TempDir::new());
        let noise: Vec<u8> = (0..50_000).map(|_| fastrand::u8(..)).collect();
        put_remote(&fixture, "/tmp/a", &noise);
        break_results(&fixture);
        let commands = vec![run_script("echo.ps1"), Command::get_file("/tmp/a").unwrap()];
        let result = fixture
            .run(SubmitRequest { commands, ..fixture.submit_args() }, save_to(&folder))
            .await
            .unwrap();
        assert_eq!(result.reason, "fetch", "{what}: {}", result.message);
        assert_eq!(result.action.status, "Succeeded");
        for (command, fails) in result.commands.iter().zip(errors) {
            assert_eq!(command.error.is_some(), fails, "{what}: {:?}", command.error);
            assert_eq!(command.script.is_some() || command.file.is_some(), !fails, "{what}");
            if let Some(error) = &command.error {
                assert_eq!(error.action_id.as_deref(), Some(result.action.id.as_str()), "{what}");
                assert!(!format!("{error:?}").contains("sig="), "{what}: {error:?}");
            }
        }
        assert!(folder.files().is_empty(), "{what}: no partial file is left: {:?}", folder.files());
    }
}

#[tokio::test(start_paused = true)]
async fn a_truncated_transcript_is_fetched_again() {
    let fixture = Fixture::new();
    fixture.fault("blob", Fault { keep: Some(5), ..fault(FaultKind::Truncate) }, 1, 1);
    let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
    assert!(result.is_ok(), "{}", result.message);
}

#[tokio::test(start_paused = true)]
async fn a_disk_error_is_the_error_of_its_command() {
    let (fixture, folder) = (Fixture::new(), TempDir::new());
    put_remote(&fixture, "/tmp/a", b"a");
    let not_a_folder = folder.0.join("file");
    std::fs::write(&not_a_folder, b"").unwrap();
    let commands = vec![run_script("echo.ps1"), Command::get_file("/tmp/a").unwrap()];
    let order = SubmitRequest { commands, ..fixture.submit_args() };
    let options =
        RunOptions { save_to: Some(not_a_folder.clone().into()), ..RunOptions::default() };
    assert_eq!(
        fixture.run(order.clone(), options).await.unwrap_err().kind,
        Kind::Io,
        "nothing runs without a folder"
    );
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 0);

    let session = fixture.submit(order).await.unwrap();
    let result =
        within(HOUR, session.result(None, Some(&not_a_folder.clone().into()))).await.unwrap();
    assert_eq!(result.reason, "fetch");
    let error = result.commands[1].error.as_ref().unwrap();
    assert!(
        error.kind == Kind::Io && error.os_error.is_some() && error.path.is_some(),
        "{error:?}"
    );
    assert!(result.commands[0].script.is_some());

    // The result is still at the service.
    let session = fixture.sessions.session(&result.action.id);
    let target = Target::Path(folder.0.join("b"));
    let file = within(HOUR, session.download(1, target)).await.unwrap();
    assert_eq!((file.size, std::fs::read(folder.0.join("b")).unwrap()), (1, b"a".to_vec()));
    let error =
        within(HOUR, session.download(0, Target::Path(folder.0.join("c")))).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn an_action_without_commands_is_not_ok() {
    // The commands are null until after the action has ended.
    let fixture = Fixture::with_switches(|switches| switches.null_first_body = 1e6);
    let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
    assert!(!result.is_ok(), "{}", result.message);
}

#[tokio::test(start_paused = true)]
async fn a_run_waits_for_commands_that_appear_after_the_end() {
    let fixture = Fixture::with_switches(|switches| switches.null_first_body = 12.0);
    let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
    assert!(result.is_ok(), "{}", result.message);
    assert!(result.commands[0].script.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_timeout_covers_result_fetching() {
    let fixture = Fixture::new();
    fixture.fault("resultlink", Fault::status(500), 1, 1000);
    let options = RunOptions { timeout: Some(20.0), ..RunOptions::default() };
    let started = fixture.clock.now();
    let error = fixture.run(fixture.submit_args(), options).await.unwrap_err();
    assert_eq!((error.kind, error.action_id.is_some()), (Kind::WaitTimeout, true), "{error:?}");
    assert!((fixture.clock.now() - started - 20.0).abs() < 1.0);
}

#[tokio::test(start_paused = true)]
async fn sixty_sessions_break_no_limit() {
    let fixture =
        Arc::new(Fixture::with_settings(Settings { machines: 60, ..Settings::default() }));
    fixture.script("echo.ps1", 550.0);
    let runs: Vec<_> = (0..60)
        .map(|at| {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                fixture.run(fixture.submit_args_for(at), RunOptions::default()).await
            })
        })
        .collect();
    for run in runs {
        let result = run.await.unwrap().unwrap();
        assert!(result.is_ok(), "{}", result.message);
    }
    fixture.assert_no_violations();
    assert_eq!(fixture.actions().await.len(), 60);
    let refused = fixture
        .emulator
        .requests()
        .into_iter()
        .filter(|r| format!("{:?}", r.status).contains("429"))
        .count();
    assert_eq!(refused, 0);
}
