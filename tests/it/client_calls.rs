//! Tests of the library, machines, paging and the check before a session.

use bytes::Bytes;
use mde_live_response::check::check;
use mde_live_response::config::Limits;
use mde_live_response::digest::sha256_hex;
use mde_live_response::emulator::{Fault, FaultKind, NewMachine, Route, ScriptOutcome, Settings};
use mde_live_response::error::Kind;
use mde_live_response::library;
use mde_live_response::model::Command;
use mde_live_response::session::SubmitRequest;
use mde_live_response::transfer::LibraryUpload;
use mde_live_response::transport::BodyPart;
use serde_json::{Map, json};

use crate::support::{Fixture, HOUR, TempDir, fault, run_script, within};

fn form(name: &str, content: &'static [u8]) -> LibraryUpload {
    LibraryUpload {
        file_name: name.to_owned(),
        content: BodyPart::Bytes(Bytes::from_static(content)),
        description: "d".to_owned(),
        parameters_description: None,
        overwrite: false,
    }
}

#[tokio::test(start_paused = true)]
async fn the_library() {
    let fixture = Fixture::new();
    let pipeline = &fixture.sessions.pipeline;
    let first = within(HOUR, library::upload(pipeline, form("a.ps1", b"one"))).await.unwrap();
    assert_eq!(
        (first.file_name.as_str(), first.sha256.as_deref()),
        ("a.ps1", Some(sha256_hex(b"one").as_str()))
    );
    let error = within(HOUR, library::upload(pipeline, form("a.ps1", b"two"))).await.unwrap_err();
    assert_eq!(error.kind, Kind::AlreadyExists, "{error:?}");
    let same = within(HOUR, library::ensure(pipeline, form("A.ps1", b"one"))).await.unwrap();
    assert_eq!(same.changed, Some(false));
    let error = within(HOUR, library::ensure(pipeline, form("a.ps1", b"two"))).await.unwrap_err();
    assert!(error.kind == Kind::AlreadyExists && error.hint.is_some());
    let over = LibraryUpload { overwrite: true, ..form("a.ps1", b"two") };
    assert_eq!(within(HOUR, library::ensure(pipeline, over)).await.unwrap().changed, Some(true));
    assert_eq!(
        within(HOUR, library::ensure(pipeline, form("b.ps1", b"b"))).await.unwrap().changed,
        Some(true)
    );
    let names: Vec<_> = within(HOUR, pipeline.list_library_files())
        .await
        .unwrap()
        .into_iter()
        .map(|file| file.file_name)
        .collect();
    assert_eq!(names, ["a.ps1", "b.ps1", "echo.ps1", "helper.exe"]);
    within(HOUR, pipeline.delete_library_file("a.ps1")).await.unwrap();
    assert_eq!(
        within(HOUR, pipeline.delete_library_file("a.ps1")).await.unwrap_err().kind,
        Kind::NotFound
    );
    // What the service would reject is not sent.
    let before = fixture.emulator.requests().len();
    assert_eq!(
        library::upload(pipeline, form("a b.ps1", b"x")).await.unwrap_err().kind,
        Kind::InvalidRequest
    );
    let big = LibraryUpload {
        content: BodyPart::Bytes(vec![0; (20 << 20) + 1].into()),
        ..form("big.bin", b"")
    };
    assert_eq!(library::ensure(pipeline, big).await.unwrap_err().kind, Kind::InvalidRequest);
    let folder = TempDir::new();
    let error = library::open_file(&folder.0.join("none")).await.unwrap_err();
    assert!(error.kind == Kind::Io && error.os_error.is_some());
    assert_eq!(fixture.emulator.requests().len(), before);
}

#[tokio::test(start_paused = true)]
async fn an_upload_whose_response_was_lost_is_not_retried() {
    let fixture = Fixture::new();
    fixture.fault("upload", fault(FaultKind::DropAfter), 1, 1);
    let pipeline = &fixture.sessions.pipeline;
    let error = within(HOUR, library::upload(pipeline, form("a.ps1", b"one"))).await.unwrap_err();
    assert_eq!(
        (error.kind, fixture.request_count(Route::UploadLibraryFile)),
        (Kind::ConnectionFailed, 1)
    );
    assert_eq!(
        within(HOUR, library::ensure(pipeline, form("a.ps1", b"one"))).await.unwrap().changed,
        Some(false)
    );
}

#[tokio::test(start_paused = true)]
async fn machines_by_id_and_by_name() {
    let fixture = Fixture::with_settings(Settings { machines: 12, ..Settings::default() });
    for name in ["twin.one.test", "twin.two.test", "o'brien"] {
        fixture.emulator.add_machine(NewMachine::named(name)).unwrap();
    }
    let pipeline = &fixture.sessions.pipeline;
    let id = fixture.machine(0);
    for name in [
        &id,
        &id.to_uppercase(),
        "ws-0001",
        "WS-0001",
        " ws-0001.example.test ",
        "ws-0001.EXAMPLE.test",
    ] {
        assert_eq!(within(HOUR, pipeline.resolve_machine(name)).await.unwrap().id, id, "{name}");
    }
    assert!(within(HOUR, pipeline.resolve_machine("o'brien")).await.is_ok());
    let error = within(HOUR, pipeline.resolve_machine("twin")).await.unwrap_err();
    assert_eq!((error.kind, error.candidates.len()), (Kind::AmbiguousMachine, 2));
    assert!(error.message.starts_with("2 machines are named \"twin\""), "{error}");
    assert!(within(HOUR, pipeline.resolve_machine("twin.two.test")).await.is_ok());
    for unknown in ["ws-00", "nobody", &"0".repeat(40)] {
        assert_eq!(
            within(HOUR, pipeline.resolve_machine(unknown)).await.unwrap_err().kind,
            Kind::NotFound,
            "{unknown}"
        );
    }
    fixture.emulator.set_switches(|switches| switches.no_machines_is_404 = true);
    assert_eq!(
        within(HOUR, pipeline.resolve_machine("nobody")).await.unwrap_err().kind,
        Kind::NotFound
    );
    assert!(
        within(HOUR, pipeline.list_machines(Some("computerDnsName eq 'nobody'"), None))
            .await
            .unwrap()
            .is_empty()
    );
    for wrong in ["", " ", "a\nb"] {
        assert_eq!(pipeline.resolve_machine(wrong).await.unwrap_err().kind, Kind::InvalidRequest);
    }
}

#[tokio::test(start_paused = true)]
async fn pages_are_followed_and_the_token_goes_to_the_service_only() {
    let fixture = Fixture::with_settings(Settings { machines: 25, ..Settings::default() });
    fixture.emulator.set_switches(|switches| switches.page_size = 10);
    let pipeline = &fixture.sessions.pipeline;
    for (top, count, calls) in [
        (None, 25, 3),
        (Some(25), 25, 3),
        (Some(12), 12, 2),
        (Some(3), 3, 1),
        (Some(20_000), 25, 3),
    ] {
        let before = fixture.request_count(Route::ListMachines);
        assert_eq!(
            within(HOUR, pipeline.list_machines(None, top)).await.unwrap().len(),
            count,
            "{top:?}"
        );
        assert_eq!(fixture.request_count(Route::ListMachines) - before, calls, "{top:?}");
    }
    // The link of a page may name another host, as of another region. The token must not go there.
    let page = |next: &str| json!({"value": [{"id": "x"}], "@odata.nextLink": next}).to_string();
    let elsewhere = "https://evil.example.test/api/machines?$skip=10&$filter=id%20ne%20%27x%27";
    fixture.fault("machines", Fault { body: page(elsewhere), ..Fault::status(200) }, 1, 1);
    let machines = within(HOUR, pipeline.list_machines(None, None)).await.unwrap();
    assert_eq!(machines.len(), 16);
    let called = fixture.network.called_hosts.lock().unwrap().clone();
    assert!(called.iter().all(|(host, _)| host == "api.emulator.test"), "{called:?}");
    let last = fixture.emulator.requests().into_iter().rev().nth(1).unwrap();
    assert!(
        last.query.contains("$skip=10") && last.query.contains("id%20ne%20%27x%27"),
        "{}",
        last.query
    );
    // Links in a circle are an error.
    let circle = Fault {
        body: page("https://api.emulator.test/api/machines?$skip=1"),
        ..Fault::status(200)
    };
    fixture.fault("machines", circle, 1, 100);
    assert_eq!(
        within(HOUR, pipeline.list_machines(None, None)).await.unwrap_err().kind,
        Kind::Service
    );
}

#[tokio::test(start_paused = true)]
async fn more_than_one_page_is_fetched_on_request() {
    let fixture = Fixture::with_settings(Settings { machines: 10_050, ..Settings::default() });
    let machines =
        within(HOUR, fixture.sessions.pipeline.list_machines(None, Some(10_020))).await.unwrap();
    assert_eq!(machines.len(), 10_020);
}

#[tokio::test(start_paused = true)]
async fn no_bearer_reaches_the_blob_host() {
    let fixture = Fixture::new();
    fixture.run(fixture.submit_args(), Default::default()).await.unwrap();
    let called = fixture.network.called_hosts.lock().unwrap().clone();
    assert!(called.iter().any(|(host, _)| host.contains("blob")));
    assert!(
        called.iter().all(|(host, bearer)| *bearer == (host == "api.emulator.test")),
        "{called:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_queues_no_longer_than_max_wait() {
    let limits = Limits {
        read: vec![mde_live_response::config::Rate { count: 1, per: 600.0 }],
        ..Limits::default()
    };
    let fixture = Fixture::new();
    let sessions = fixture.client_with(|options| options.limits = limits);
    within(HOUR, sessions.pipeline.list_machines(None, None)).await.unwrap();
    let started = fixture.clock.now();
    let error = within(HOUR, sessions.pipeline.list_machines(None, None)).await.unwrap_err();
    assert_eq!(error.kind, Kind::Throttled);
    assert!(
        (fixture.clock.now() - started - 180.0).abs() < 1.0
            && error.retry_after.is_some_and(|after| after > 300.0)
    );
    assert!(error.retryable && error.hint.is_some());
}

async fn codes(
    fixture: &Fixture,
    machine: Option<&str>,
    commands: Option<&[Command]>,
) -> Vec<String> {
    let check = within(HOUR, check(&fixture.sessions.pipeline, machine, commands)).await;
    assert!(check.findings.iter().all(|finding| !finding.message.is_empty()), "{check:?}");
    let listed = check.findings.iter().map(|finding| format!("{} {}", finding.level, finding.code));
    assert_eq!(check.is_ok(), !check.findings.iter().any(|finding| finding.level == "error"));
    listed.collect()
}

#[tokio::test(start_paused = true)]
async fn each_finding_of_the_check_can_occur() {
    let fixture = Fixture::new();
    let mut properties = Map::new();
    properties.insert("onboardingStatus".into(), json!("CanBeOnboarded"));
    properties.insert("healthStatus".into(), json!("Inactive"));
    fixture
        .emulator
        .add_machine(NewMachine { properties, ..NewMachine::named("odd.example.test") })
        .unwrap();
    let good = [run_script("echo.ps1")];
    assert_eq!(codes(&fixture, Some("ws-0001"), Some(&good)).await, ["warning state"]);
    assert_eq!(codes(&fixture, Some("nobody"), None).await, ["warning state", "error machine"]);
    let odd = codes(&fixture, Some("odd"), None).await;
    assert_eq!(odd, ["warning state", "error onboarding", "warning health"]);
    let old = json!({"osPlatform": "Windows10", "version": "1803", "rbacGroupName": "Servers"});
    let properties = old.as_object().unwrap().clone();
    fixture
        .emulator
        .add_machine(NewMachine { properties, ..NewMachine::named("old.example.test") })
        .unwrap();
    assert_eq!(
        codes(&fixture, Some("old"), None).await,
        ["warning state", "warning os", "warning remediation"]
    );
    let wrong = [Command::get_file("/a").unwrap(), run_script("missing.ps1")];
    assert_eq!(
        codes(&fixture, None, Some(&wrong)).await,
        ["warning state", "error commands", "error library"]
    );
    fixture.fault("machineactions", Fault::status(403), 1, 1);
    assert_eq!(codes(&fixture, None, None).await, ["warning state", "error api"]);
    let posted = fixture.emulator.requests().into_iter().filter(|request| request.method != "GET");
    assert!(posted.map(|it| it.route).all(|route| route == Route::Token), "a check starts nothing");
}

#[tokio::test(start_paused = true)]
async fn a_check_reports_sessions_and_remaining_limits() {
    let fixture = Fixture::new();
    let group = json!({"rbacGroupName": "Servers"}).as_object().unwrap().clone();
    let machine = fixture
        .emulator
        .add_machine(NewMachine { properties: group, ..NewMachine::named("grouped.example.test") });
    let id = machine.unwrap().id;
    let sessions = fixture.client_with(|options| {
        options.limits.sessions = 1;
        options.limits.submit = vec![mde_live_response::config::Rate { count: 1, per: 600.0 }];
    });
    fixture
        .emulator
        .on_script("echo.ps1", ScriptOutcome { duration: 300.0, ..ScriptOutcome::default() });
    let submit = SubmitRequest {
        machine_id: id.clone(),
        commands: vec![run_script("echo.ps1")],
        comment: "c".into(),
        correlation_id: None,
        wait_if_busy: false,
    };
    let session = within(HOUR, sessions.submit(submit, None)).await.unwrap();
    let check = within(HOUR, check(&sessions.pipeline, Some(&id), None)).await;
    let findings: Vec<_> =
        check.findings.iter().map(|it| (it.code.as_str(), it.message.as_str())).collect();
    assert_eq!(
        findings.iter().map(|it| it.0).collect::<Vec<_>>(),
        ["state", "limits", "limits", "busy"],
        "{findings:?}"
    );
    assert!(findings[3].1.contains(&session.id), "{findings:?}");
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 1);
    // A session that was accepted proves that the group has a remediation level.
    within(HOUR, session.wait(None, None, None)).await.unwrap();
    assert_eq!(codes(&fixture, Some(&id), None).await, ["warning state"]);
}
