//! Machines that are offline: they must not block the slots, and are not given up too early.

use std::sync::Arc;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{NewMachine, Route, Settings};
use mde_live_response::fleet::Cursor;
use mde_live_response::session::Sessions;
use serde_json::json;

use crate::fleet_support::*;
use crate::support::{Fixture, HOUR, count_accepted, sleep, within};

/// Creates a fixture with twelve session slots and a queue time of half an hour.
fn fixture_with_twelve_slots() -> (Fixture, Arc<Sessions>) {
    let limits = Limits { sessions: 12, queue_time: 1800.0, ..Limits::default() };
    let fixture = Fixture::with_settings(Settings {
        machines: 0,
        limits: limits.clone(),
        ..Settings::default()
    });
    let sessions = fixture.client_with(|options| options.limits = limits);
    (fixture, sessions)
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_likely_online_go_first() {
    let fixture = fixture(0, |_| {});
    for number in 0..30 {
        let mut machine = NewMachine::named(format!("m-{number:02}"));
        if number < 20 {
            machine.properties.insert("healthStatus".into(), json!("Inactive"));
            machine.online = false;
        }
        fixture.emulator.add_machine(machine).unwrap();
    }
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(59.0).await;
    assert_eq!(fleet.counts().succeeded, 10);
    let mut cursor = Cursor::default();
    for _ in 0..10 {
        assert!(within(HOUR, fleet.next(&mut cursor)).await.unwrap().unwrap().row >= 20);
    }
}

#[tokio::test(start_paused = true)]
async fn offline_machines_do_not_starve_the_others() {
    let (fixture, sessions) = fixture_with_twelve_slots();
    fixture.script("echo.ps1", 60.0);
    for number in 0..60 {
        let machine = NewMachine::named(format!("m-{number:02}"));
        let machine = if number % 10 < 6 { machine.offline() } else { machine };
        fixture.emulator.add_machine(machine).unwrap();
    }
    let began = fixture.clock.now();
    let fleet = start(&sessions, run_spec(fixture.emulator.machine_ids())).await;
    let mut cursor = Cursor::default();
    let mut ok = 0;
    while ok < 24 {
        let outcome = within(10 * HOUR, fleet.next(&mut cursor)).await.unwrap().unwrap();
        ok += usize::from(outcome.is_ok());
    }
    let took = fixture.clock.now() - began;
    assert!(took < 36.0 * 60.0 / 12.0 + 420.0, "all reachable machines ended after {took} s");
    let outcomes = all_outcomes(&fleet).await;
    let reasons = reasons_by_row(&outcomes);
    assert_eq!(reasons.iter().filter(|reason| *reason == "timed_out").count(), 36, "{reasons:?}");
    let posts = fixture.request_times(Route::RunLiveResponse);
    let last = posts.last().unwrap() - posts.first().unwrap();
    let took = fixture.clock.now() - began;
    assert!(took - last <= 1800.0 + 60.0, "the last submit was at {last} s, the end at {took} s");
    assert_nothing_ran_twice(&fixture).await;
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_parked_machine_is_tried_again_and_runs_once() {
    let (fixture, sessions) = fixture_with_twelve_slots();
    fixture.script("echo.ps1", 300.0);
    let mut offline = Vec::new();
    for number in 0..30 {
        let machine = NewMachine::named(format!("m-{number:03}"));
        let is_offline = number % 2 == 0;
        let added = fixture
            .emulator
            .add_machine(if is_offline { machine.offline() } else { machine })
            .unwrap();
        if is_offline {
            offline.push(added.id);
        }
    }
    let fleet = start(&sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(500.0).await;
    assert!(fixture.request_count(Route::CancelMachineAction) > 0, "some sessions were parked");
    for id in &offline {
        fixture.emulator.set_online(id, true).unwrap();
    }
    let outcomes = all_outcomes(&fleet).await;
    let bad: Vec<_> = outcomes.iter().filter(|outcome| !outcome.is_ok()).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(count_accepted(&fixture) > 30);
    assert!(count_starts(&fixture).await.values().all(|count| *count == 1));
    fixture.assert_no_violations();
}
