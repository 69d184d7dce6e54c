//! One run over many machines: each row has exactly one outcome, with its reason.

use mde_live_response::emulator::{ForeignAnswer, NewMachine, Route, ScriptOutcome};
use mde_live_response::error::Kind;
use mde_live_response::fleet::{Cursor, Fleet, Order};

use crate::fleet_support::*;
use crate::support::{HOUR, World, accepted, run, sleep, within};

#[tokio::test(start_paused = true)]
async fn each_row_has_its_reason() {
    let world = world(4, |_| {});
    let fails = ScriptOutcome { fails: Some("no such thing".into()), ..ScriptOutcome::default() };
    world.emulator.on_script("fails.ps1", fails);
    world.emulator.on_script("three.ps1", ScriptOutcome { exit_code: Some(3), ..ScriptOutcome::default() });
    let offline = add_offline(&world, "gone.example.test");
    for _ in 0..2 {
        world.emulator.add_machine(NewMachine::named("twin.example.test")).unwrap();
    }
    let forbidden = NewMachine { remediation_level: false, ..NewMachine::named("bare.example.test") };
    let forbidden = world.emulator.add_machine(forbidden).unwrap().id;
    let rows = [
        ("ws-0001", 0),
        ("WS-0002.example.test", 1),
        (&world.machine(2), 2),
        (&offline, 0),
        ("nobody", 0),
        ("twin", 0),
        (&world.machine(0), 0),
        (&forbidden, 0),
        (&"0".repeat(40), 0),
        (" ", 0),
        ("ws-0004", 0),
    ];
    let order = Order {
        machines: rows.iter().map(|(machine, commands)| ((*machine).to_owned(), *commands)).collect(),
        commands: vec![vec![run("echo.ps1")], vec![run("fails.ps1")], vec![run("three.ps1")]],
        comment: "case 42".to_owned(),
        ..Order::default()
    };
    let fleet = start(&world.sessions, order).await;
    let outcomes = all(&fleet).await;
    let reasons = reasons(&outcomes);
    let ids = [&reasons[0], &reasons[6]];
    assert!(ids.contains(&&"ok".to_owned()) && ids.contains(&&"duplicate".to_owned()), "{reasons:?}");
    assert_eq!(reasons[1..6], ["command", "script", "timed_out", "machine", "machine"]);
    assert_eq!(reasons[7..], ["permission", "machine", "machine", "ok"]);
    let of = |row: u32| outcomes.iter().find(|outcome| outcome.row == row).unwrap();
    assert_eq!(of(4).error.as_ref().unwrap().kind, Kind::NotFound);
    assert_eq!(of(5).error.as_ref().unwrap().kind, Kind::AmbiguousMachine);
    assert_eq!(of(5).error.as_ref().unwrap().candidates.len(), 2);
    assert_eq!(of(7).error.as_ref().unwrap().kind, Kind::PermissionDenied);
    let result = fleet.results().of(2).await.unwrap().unwrap();
    assert_eq!(result.commands[0].script.as_ref().unwrap().exit_code, Some(3));
    assert!(fleet.results().of(4).await.unwrap().is_none());
    assert_eq!((fleet.counts().succeeded, fleet.counts().failed), (2, 9));
    assert_eq!(fleet.outcomes().await.unwrap().len(), 11, "a second loop begins at the start");
    nothing_ran_twice(&world).await;
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_hundred_machines_within_the_limits_in_few_calls() {
    let world = world(100, |_| {});
    world.script("echo.ps1", 90.0);
    let names = (1..=100).map(|number| format!("ws-{number:04}")).collect();
    let began = world.clock.now();
    let fleet = start(&world.sessions, order(names)).await;
    let outcomes = all(&fleet).await;
    assert!(reasons(&outcomes).iter().all(|reason| reason == "ok"));
    assert_eq!(accepted(&world), 100);
    let took = world.clock.now() - began;
    assert!(took < 540.0 + 120.0, "{took}");
    let calls = world.emulator.requests().len() - world.count(Route::GetResultLink) - world.count(Route::Blob);
    assert!(calls <= 400, "{calls} calls");
    assert!(world.count(Route::ListMachines) <= 6, "the machines are looked up in pages");
    assert_eq!(world.held().await.1, 0);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_single_run_does_not_wait_behind_a_fleet() {
    let world = world(101, |_| {});
    let ids = world.emulator.machine_ids();
    let fleet = start(&world.sessions, order(ids[..100].to_vec())).await;
    sleep(30.0).await;
    let began = world.clock.now();
    world.submit(world.order_on(100)).await.unwrap();
    assert!(world.clock.now() - began < 61.0, "{}", world.clock.now() - began);
    assert_eq!(all(&fleet).await.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_busy_machine_is_tried_again_later() {
    let world = world(3, |_| {});
    world.emulator.add_foreign_session(&world.machine(1), 900.0, true, ForeignAnswer::Error).unwrap();
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
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
async fn a_machine_that_stays_busy_has_its_outcome_in_the_end() {
    let world = world(1, |_| {});
    world.emulator.add_foreign_session(&world.machine(0), 1e6, false, ForeignAnswer::Error).unwrap();
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    let outcomes = all(&fleet).await;
    assert_eq!(reasons(&outcomes), ["busy"]);
    assert!(accepted(&world) == 0 && world.count(Route::RunLiveResponse) < 60);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_submits_no_more_and_leaves_what_runs() {
    let world = world(30, |_| {});
    world.script("echo.ps1", 200.0);
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(30.0).await;
    fleet.cancel("enough", false).await.unwrap();
    let outcomes = all(&fleet).await;
    let reasons = reasons(&outcomes);
    let ok = reasons.iter().filter(|reason| *reason == "ok").count();
    assert_eq!((ok, accepted(&world)), (10, 10));
    assert_eq!(reasons.iter().filter(|reason| *reason == "not_submitted").count(), 20);
    assert!(outcomes.iter().any(|outcome| outcome.message.ends_with("enough")));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_cancels_what_runs() {
    let world = world(12, |_| {});
    world.script("echo.ps1", 500.0);
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(30.0).await;
    assert!(fleet.cancel(" ", true).await.is_err());
    fleet.cancel("enough", true).await.unwrap();
    let outcomes = all(&fleet).await;
    let reasons = reasons(&outcomes);
    assert_eq!(reasons.iter().filter(|reason| *reason == "cancelled").count(), 10, "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| *reason == "not_submitted").count(), 2);
    assert!(outcomes.iter().any(|outcome| outcome.message.contains("enough")));
}

#[tokio::test(start_paused = true)]
async fn a_detached_run_is_gone_on_with() {
    let world = world(25, |_| {});
    world.script("echo.ps1", 40.0);
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(70.0).await;
    assert!(fleet.detach() && !fleet.detach());
    let told = try_all(&fleet).await.unwrap_err();
    assert_eq!(told.kind, Kind::InvalidRequest);
    let run_id = fleet.run_id().to_owned();
    drop(fleet);
    let submitted = accepted(&world);
    sleep(600.0).await;
    assert_eq!(accepted(&world), submitted, "nothing is submitted by one who left");
    let again = Fleet::resume(&world.sessions, &run_id).await.unwrap();
    let outcomes = all(&again).await;
    assert!(reasons(&outcomes).iter().all(|reason| reason == "ok"));
    assert_eq!((outcomes.len(), accepted(&world)), (25, 25));
    assert_eq!(Fleet::resume(&world.sessions, "none").await.map(drop).unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn two_that_work_at_one_run_share_it() {
    let world = world(40, |_| {});
    let named = Order { run_id: Some("case 42".into()), ..order(world.emulator.machine_ids()) };
    let one = start(&world.sessions, named.clone()).await;
    let two = start(&world.sessions, named.clone()).await;
    let (ones, twos) = tokio::join!(all(&one), all(&two));
    let rows = |outcomes: &[mde_live_response::fleet::Outcome]| outcomes.iter().map(|it| it.row).collect::<Vec<_>>();
    assert_eq!(rows(&ones), rows(&twos));
    assert_eq!((ones.len(), accepted(&world)), (40, 40));
    let other = Order { machines: vec![("ws-0001".into(), 0)], ..named };
    assert_eq!(Fleet::start(&world.sessions, other).await.map(drop).unwrap_err().kind, Kind::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_an_order_is_said_before_any_request() {
    let world = World::new();
    let good = order(vec!["ws-0001".into()]);
    let wrong = [
        Order { comment: " ".into(), ..good.clone() },
        Order { commands: vec![Vec::new()], ..good.clone() },
        Order { run_id: Some(String::new()), ..good.clone() },
        Order { run_id: Some("x".repeat(101)), ..good.clone() },
    ];
    for order in wrong {
        let error = Fleet::start(&world.sessions, order).await.map(drop).unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest);
    }
    assert!(world.emulator.requests().is_empty());
    let none = start(&world.sessions, Order { machines: Vec::new(), ..good }).await;
    assert!(all(&none).await.is_empty());
}
