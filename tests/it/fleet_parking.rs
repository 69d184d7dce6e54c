//! Machines that are off: they must not keep the slots from the others, and are not given up too soon.

use mde_live_response::emulator::{NewMachine, Route};
use mde_live_response::fleet::Cursor;
use serde_json::json;

use crate::fleet_support::*;
use crate::support::{HOUR, accepted, sleep, within};

#[tokio::test(start_paused = true)]
async fn the_likely_online_go_first() {
    let world = world(0, |_| {});
    for number in 0..30 {
        let mut machine = NewMachine::named(format!("m-{number:02}"));
        if number < 20 {
            machine.properties.insert("healthStatus".into(), json!("Inactive"));
            machine.online = false;
        }
        world.emulator.add_machine(machine).unwrap();
    }
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(59.0).await;
    assert_eq!(fleet.counts().succeeded, 10);
    let mut cursor = Cursor::default();
    for _ in 0..10 {
        assert!(within(HOUR, fleet.next(&mut cursor)).await.unwrap().unwrap().row >= 20);
    }
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_off_do_not_starve_the_rest() {
    let world = world(0, |_| {});
    world.script("echo.ps1", 60.0);
    for number in 0..200 {
        let machine = NewMachine::named(format!("m-{number:03}"));
        let machine = if number % 10 < 6 { machine.offline() } else { machine };
        world.emulator.add_machine(machine).unwrap();
    }
    let began = world.clock.now();
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    let mut cursor = Cursor::default();
    let mut ok = 0;
    while ok < 80 {
        let outcome = within(10 * HOUR, fleet.next(&mut cursor)).await.unwrap().unwrap();
        ok += usize::from(outcome.is_ok());
    }
    let took = world.clock.now() - began;
    assert!(took < 20.0 * 60.0 + 120.0, "all reachable ones after {took} s");
    let outcomes = all(&fleet).await;
    let reasons = reasons(&outcomes);
    assert_eq!(reasons.iter().filter(|reason| *reason == "timed_out").count(), 120, "{reasons:?}");
    let posts = world.times(Route::RunLiveResponse);
    let ended = outcomes.last().unwrap().ended;
    assert!(ended - world.clock.now() <= 0.0);
    let last = posts.last().unwrap() - posts.first().unwrap();
    let took = world.clock.now() - began;
    assert!(took - last <= 7200.0 + 60.0, "the last submit {last}, the end {took}");
    nothing_ran_twice(&world).await;
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_was_set_aside_is_tried_again_and_runs_once() {
    let world = world(0, |_| {});
    world.script("echo.ps1", 300.0);
    let mut off = Vec::new();
    for number in 0..120 {
        let machine = NewMachine::named(format!("m-{number:03}"));
        let off_now = number % 2 == 0;
        let added = world.emulator.add_machine(if off_now { machine.offline() } else { machine }).unwrap();
        if off_now {
            off.push(added.id);
        }
    }
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(1800.0).await;
    assert!(world.count(Route::CancelMachineAction) > 0, "some were set aside");
    for id in &off {
        world.emulator.set_online(id, true).unwrap();
    }
    let outcomes = all(&fleet).await;
    assert!(reasons(&outcomes).iter().all(|reason| reason == "ok"));
    assert!(accepted(&world) > 120);
    assert!(starts(&world).await.values().all(|count| *count == 1));
    world.broke_nothing();
}
