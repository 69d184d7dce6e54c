//! Runs over many machines: each row has exactly one outcome, with its reason.

use mde_live_response::emulator::{
    Fault, ForeignSessionResponse, NewMachine, Route, ScriptOutcome,
};
use mde_live_response::error::Kind;
use mde_live_response::fleet::{Cursor, Fleet, RunSpec};

use crate::fleet_support::*;
use crate::support::{Fixture, HOUR, count_accepted, run_script, sleep, within};

#[tokio::test(start_paused = true)]
async fn each_row_has_its_reason() {
    let fixture = fixture(4, |_| {});
    let fails = ScriptOutcome { fails: Some("no such thing".into()), ..ScriptOutcome::default() };
    fixture.emulator.on_script("fails.ps1", fails);
    fixture
        .emulator
        .on_script("three.ps1", ScriptOutcome { exit_code: Some(3), ..ScriptOutcome::default() });
    let offline = add_offline(&fixture, "gone.example.test");
    for _ in 0..2 {
        fixture.emulator.add_machine(NewMachine::named("twin.example.test")).unwrap();
    }
    let forbidden =
        NewMachine { remediation_level: false, ..NewMachine::named("bare.example.test") };
    let forbidden = fixture.emulator.add_machine(forbidden).unwrap().id;
    let rows = [
        ("ws-0001", 0),
        ("WS-0002.example.test", 1),
        (&fixture.machine(2), 2),
        (&offline, 0),
        ("nobody", 0),
        ("twin", 0),
        (&fixture.machine(0), 0),
        (&forbidden, 0),
        (&"0".repeat(40), 0),
        (" ", 0),
        ("ws-0004", 0),
    ];
    let spec = RunSpec {
        machines: rows
            .iter()
            .map(|(machine, commands)| ((*machine).to_owned(), *commands))
            .collect(),
        commands: vec![
            vec![run_script("echo.ps1")],
            vec![run_script("fails.ps1")],
            vec![run_script("three.ps1")],
        ],
        comment: "case 42".to_owned(),
        ..RunSpec::default()
    };
    let fleet = start(&fixture.sessions, spec).await;
    let outcomes = all_outcomes(&fleet).await;
    let reasons = reasons_by_row(&outcomes);
    let ids = [&reasons[0], &reasons[6]];
    assert!(
        ids.contains(&&"ok".to_owned()) && ids.contains(&&"duplicate".to_owned()),
        "{reasons:?}"
    );
    assert_eq!(reasons[1..6], ["command", "script", "timed_out", "machine", "machine"]);
    assert_eq!(reasons[7..], ["permission", "machine", "machine", "ok"]);
    let outcome_of = |row: u32| outcomes.iter().find(|outcome| outcome.row == row).unwrap();
    assert_eq!(outcome_of(4).error.as_ref().unwrap().kind, Kind::NotFound);
    assert_eq!(outcome_of(5).error.as_ref().unwrap().kind, Kind::AmbiguousMachine);
    assert_eq!(outcome_of(5).error.as_ref().unwrap().candidates.len(), 2);
    assert_eq!(outcome_of(7).error.as_ref().unwrap().kind, Kind::PermissionDenied);
    let result = fleet.results().load(2).await.unwrap().unwrap();
    assert_eq!(result.commands[0].script.as_ref().unwrap().exit_code, Some(3));
    assert!(fleet.results().load(4).await.unwrap().is_none());
    assert_eq!((fleet.counts().succeeded, fleet.counts().failed), (2, 9));
    assert_eq!(
        fleet.outcomes().await.unwrap().len(),
        11,
        "a second loop starts from the first outcome"
    );
    assert_nothing_ran_twice(&fixture).await;
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_hundred_machines_need_few_calls() {
    let fixture = fixture(100, |_| {});
    fixture.script("echo.ps1", 90.0);
    let names = (1..=100).map(|number| format!("ws-{number:04}")).collect();
    let began = fixture.clock.now();
    let fleet = start(&fixture.sessions, run_spec(names)).await;
    let outcomes = all_outcomes(&fleet).await;
    assert!(reasons_by_row(&outcomes).iter().all(|reason| reason == "ok"));
    assert_eq!(count_accepted(&fixture), 100);
    let took = fixture.clock.now() - began;
    assert!(took < 540.0 + 120.0, "{took}");
    let calls = fixture.emulator.requests().len()
        - fixture.request_count(Route::GetResultLink)
        - fixture.request_count(Route::Blob);
    assert!(calls <= 400, "{calls} calls");
    assert!(fixture.request_count(Route::ListMachines) <= 6, "the machines are looked up in pages");
    assert_eq!(fixture.count_held().await.1, 0);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_single_run_does_not_wait_behind_a_fleet() {
    let fixture = fixture(101, |_| {});
    let ids = fixture.emulator.machine_ids();
    let fleet = start(&fixture.sessions, run_spec(ids[..100].to_vec())).await;
    sleep(30.0).await;
    let began = fixture.clock.now();
    fixture.submit(fixture.submit_args_for(100)).await.unwrap();
    assert!(fixture.clock.now() - began < 61.0, "{}", fixture.clock.now() - began);
    assert_eq!(all_outcomes(&fleet).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_busy_machine_is_tried_again_later() {
    let fixture = fixture(3, |_| {});
    fixture
        .emulator
        .add_foreign_session(&fixture.machine(1), 900.0, true, ForeignSessionResponse::Error)
        .unwrap();
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    let mut cursor = Cursor::default();
    for _ in 0..2 {
        let first = within(HOUR, fleet.next(&mut cursor)).await.unwrap().unwrap();
        assert!(first.is_ok() && first.row != 1);
    }
    let last = within(HOUR, fleet.next(&mut cursor)).await.unwrap().unwrap();
    assert_eq!((last.row, last.reason.as_str()), (1, "ok"));
    assert!(within(HOUR, fleet.next(&mut cursor)).await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stays_busy_ends_as_busy() {
    let fixture = fixture(1, |_| {});
    fixture
        .emulator
        .add_foreign_session(&fixture.machine(0), 1e6, false, ForeignSessionResponse::Error)
        .unwrap();
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    let outcomes = all_outcomes(&fleet).await;
    assert_eq!(reasons_by_row(&outcomes), ["busy"]);
    assert!(count_accepted(&fixture) == 0 && fixture.request_count(Route::RunLiveResponse) < 60);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_submits_no_more_and_lets_sessions_end() {
    let fixture = fixture(30, |_| {});
    fixture.script("echo.ps1", 200.0);
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(30.0).await;
    fleet.cancel("enough", false).await.unwrap();
    let outcomes = all_outcomes(&fleet).await;
    let reasons = reasons_by_row(&outcomes);
    let ok = reasons.iter().filter(|reason| *reason == "ok").count();
    assert_eq!((ok, count_accepted(&fixture)), (10, 10));
    assert_eq!(reasons.iter().filter(|reason| *reason == "not_submitted").count(), 20);
    assert!(outcomes.iter().any(|outcome| outcome.message.ends_with("enough")));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_cancels_running_sessions() {
    let fixture = fixture(12, |_| {});
    fixture.script("echo.ps1", 500.0);
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(30.0).await;
    assert!(fleet.cancel(" ", true).await.is_err());
    fleet.cancel("enough", true).await.unwrap();
    let outcomes = all_outcomes(&fleet).await;
    let reasons = reasons_by_row(&outcomes);
    assert_eq!(reasons.iter().filter(|reason| *reason == "cancelled").count(), 10, "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| *reason == "not_submitted").count(), 2);
    assert!(outcomes.iter().any(|outcome| outcome.message.contains("enough")));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_just_after_a_resume_is_not_lost() {
    for tenths in [0, 1, 5, 9, 10, 11, 15, 20] {
        let fixture = fixture(12, |_| {});
        fixture.script("echo.ps1", 5000.0);
        let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
        sleep(90.0).await;
        fleet.detach();
        let again = Fleet::resume(&fixture.sessions, fleet.run_id()).await.unwrap();
        sleep(f64::from(tenths) / 10.0).await;
        again.cancel("enough", true).await.unwrap();
        let reasons = reasons_by_row(&all_outcomes(&again).await);
        assert!(reasons.iter().all(|reason| reason == "cancelled"), "{tenths}: {reasons:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_repeated_while_the_service_fails() {
    let fixture = fixture(1, |_| {});
    fixture.script("echo.ps1", 5000.0);
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(30.0).await;
    fixture.fault("cancel", Fault::status(503), 1, 40);
    fleet.cancel("enough", true).await.unwrap();
    assert_eq!(reasons_by_row(&all_outcomes(&fleet).await), ["cancelled"]);
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_is_resumed() {
    let fixture = fixture(25, |_| {});
    fixture.script("echo.ps1", 40.0);
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(70.0).await;
    assert!(fleet.detach() && !fleet.detach());
    let error = try_all_outcomes(&fleet).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidRequest);
    let run_id = fleet.run_id().to_owned();
    drop(fleet);
    let submitted = count_accepted(&fixture);
    sleep(600.0).await;
    assert_eq!(count_accepted(&fixture), submitted, "a detached process submits nothing");
    let again = Fleet::resume(&fixture.sessions, &run_id).await.unwrap();
    let outcomes = all_outcomes(&again).await;
    assert!(reasons_by_row(&outcomes).iter().all(|reason| reason == "ok"));
    assert_eq!((outcomes.len(), count_accepted(&fixture)), (25, 25));
    assert_eq!(
        Fleet::resume(&fixture.sessions, "none").await.map(drop).unwrap_err().kind,
        Kind::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn two_clients_share_one_run() {
    let fixture = fixture(40, |_| {});
    let named =
        RunSpec { run_id: Some("case 42".into()), ..run_spec(fixture.emulator.machine_ids()) };
    let one = start(&fixture.sessions, named.clone()).await;
    let two = start(&fixture.sessions, named.clone()).await;
    let (ones, twos) = tokio::join!(all_outcomes(&one), all_outcomes(&two));
    let rows = |outcomes: &[mde_live_response::fleet::Outcome]| {
        outcomes.iter().map(|it| it.row).collect::<Vec<_>>()
    };
    assert_eq!(rows(&ones), rows(&twos));
    assert_eq!((ones.len(), count_accepted(&fixture)), (40, 40));
    let other = RunSpec { machines: vec![("ws-0001".into(), 0)], ..named };
    assert_eq!(
        Fleet::start(&fixture.sessions, other).await.map(drop).unwrap_err().kind,
        Kind::InvalidRequest
    );
}

#[tokio::test(start_paused = true)]
async fn an_invalid_spec_is_refused_before_any_request() {
    let fixture = Fixture::new();
    let good = run_spec(vec!["ws-0001".into()]);
    let invalid = [
        RunSpec { comment: " ".into(), ..good.clone() },
        RunSpec { commands: vec![Vec::new()], ..good.clone() },
        RunSpec { run_id: Some(String::new()), ..good.clone() },
        RunSpec { run_id: Some("x".repeat(101)), ..good.clone() },
    ];
    for spec in invalid {
        let error = Fleet::start(&fixture.sessions, spec).await.map(drop).unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest);
    }
    assert!(fixture.emulator.requests().is_empty());
    let none = start(&fixture.sessions, RunSpec { machines: Vec::new(), ..good }).await;
    assert!(all_outcomes(&none).await.is_empty());
}
