//! Busy machines, the session cap, time-outs and cancelling.

use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{Fault, FaultKind, ForeignAnswer, NewMachine, Route};
use mde_live_response::error::Kind;
use mde_live_response::session::{RunOptions, Submit};

use crate::support::{HOUR, World, accepted, fault, held, most_within, sleep, within};

fn waiting(submit: Submit) -> Submit {
    Submit { wait_if_busy: true, ..submit }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_another_is_on() {
    for (listed, answer) in [
        (true, ForeignAnswer::Error),
        (false, ForeignAnswer::Error),
        (true, ForeignAnswer::Foreign),
        (false, ForeignAnswer::Foreign),
    ] {
        let world = World::new();
        let foreign = world.emulator.add_foreign_session("ws-0001", 900.0, listed, answer).unwrap();
        let error = world.submit(world.order()).await.unwrap_err();
        assert_eq!(error.kind, Kind::MachineBusy, "{error:?}");
        let seen = listed || answer == ForeignAnswer::Foreign;
        assert_eq!(error.active_action_id, seen.then(|| foreign.to_string()), "{listed} {answer:?}");
        assert!(error.machine_id.is_some() && error.hint.is_some() && error.retryable);
        let started = world.clock.now();
        let result = world.run(waiting(world.order()), RunOptions::default()).await.unwrap();
        assert!(result.is_ok());
        let waited = world.clock.now() - started;
        assert!((850.0..1200.0).contains(&waited), "{listed} {answer:?}: {waited}");
        world.broke_nothing();
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_busy_where_the_list_is_forbidden_is_busy_all_the_same() {
    let world = World::new();
    world.emulator.add_foreign_session("ws-0001", 900.0, true, ForeignAnswer::Error).unwrap();
    let body = r#"{"error":{"code":"Forbidden","message":"no","target":"t"}}"#.to_owned();
    world.fault("machineactions", Fault { body, ..Fault::status(403) }, 1, 1000);
    let error = world.submit(world.order()).await.unwrap_err();
    assert_eq!((error.kind, error.active_action_id.clone()), (Kind::MachineBusy, None), "{error:?}");
    assert_eq!(world.held().await, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn our_own_session_is_on_the_machine() {
    let world = World::new();
    world.script("echo.ps1", 100.0);
    let first = world.submit(world.order()).await.unwrap();
    let error = world.submit(world.order()).await.unwrap_err();
    assert_eq!((error.kind, error.active_action_id.as_deref()), (Kind::MachineBusy, Some(first.id.as_str())));
    assert_eq!(world.count(Route::RunLiveResponse), 1, "no request for what is known to be refused");
    let second = world.submit(waiting(world.order())).await.unwrap();
    assert_ne!(first.id, second.id);
    assert!(first.refresh(0.0).await.unwrap().is_done());
    world.broke_nothing();
    // One that ended while nobody looked is in nobody's way.
    sleep(200.0).await;
    assert!(world.submit(world.order()).await.is_ok());
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_time_out_in_line_sends_nothing() {
    let limits = Limits { submit: vec![Rate { count: 1, per: 600.0 }], ..Limits::default() };
    let world = World::new();
    let sessions = world.changed(|options| options.limits = limits);
    within(HOUR, sessions.submit(world.order(), None)).await.unwrap();
    for named in [None, Some("one".to_owned())] {
        let submit = Submit { correlation_id: named, ..world.order_on(1) };
        let started = world.clock.now();
        let error = within(HOUR, sessions.submit(submit.clone(), Some(20.0))).await.unwrap_err();
        assert_eq!((error.kind, error.action_id.clone(), error.retryable), (Kind::WaitTimeout, None, true));
        assert!((world.clock.now() - started - 20.0).abs() < 1.0);
        let error =
            within(HOUR, sessions.run(submit, RunOptions { timeout: Some(5.0), ..RunOptions::default() })).await;
        assert_eq!(error.err().map(|error| (error.kind, error.action_id.clone())), Some((Kind::WaitTimeout, None)));
    }
    assert_eq!(world.count(Route::RunLiveResponse), 1);
    assert_eq!(held(&sessions).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_time_out_in_line_after_a_lost_try_does_not_say_that_nothing_was_sent() {
    let world = World::new();
    world.fault("runliveresponse", Fault::status(500), 1, 1);
    world.fault("runliveresponse", Fault::status(429), 2, 1);
    let error = within(HOUR, world.sessions.submit(world.named("one"), Some(125.0))).await.unwrap_err();
    assert_eq!((error.kind, error.retryable), (Kind::SubmitUnknown, true), "{error:?}");
    let session = world.submit(world.named("one")).await.unwrap();
    assert!(!session.adopted);
    assert_eq!(accepted(&world), 1);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn the_time_out_holds_where_the_list_has_no_room() {
    let limits = Limits { read: vec![Rate { count: 1, per: 3600.0 }], ..Limits::default() };
    let world = World::new();
    let sessions = world.changed(|options| options.limits = limits);
    within(HOUR, sessions.find(&world.machine(0), "x")).await.unwrap();
    let error = within(60, sessions.submit(world.named("one"), Some(10.0))).await.unwrap_err();
    assert_eq!((error.kind, error.action_id.clone()), (Kind::WaitTimeout, None), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_time_out_of_the_wait_leaves_the_session_alone() {
    let world = World::new();
    world.script("echo.ps1", 300.0);
    let options = RunOptions { timeout: Some(30.0), ..RunOptions::default() };
    let started = world.clock.now();
    let error = world.run(world.named("one"), options).await.unwrap_err();
    assert_eq!(error.kind, Kind::WaitTimeout);
    assert!((world.clock.now() - started - 30.0).abs() < 1.0);
    let session = world.sessions.session(error.action_id.as_deref().unwrap());
    assert_eq!(error.machine_id, Some(world.machine(0)));
    assert_eq!(error.correlation_id.as_deref(), Some("one"));
    assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
    // An action over when it is asked for takes no time.
    let started = world.clock.now();
    assert!(session.wait(Some(0.0), None, None).await.unwrap().is_done());
    assert!(world.clock.now() - started < 0.1);
}

#[tokio::test(start_paused = true)]
async fn short_waits_in_a_row_see_the_end_too() {
    let world = World::new();
    world.script("echo.ps1", 20.0);
    let session = world.submit(world.order()).await.unwrap();
    let waits = async { while session.wait(Some(0.5), None, None).await.is_err() {} };
    within(60, waits).await;
    assert!(most_within(&world.times(Route::ListMachineActions), 60.0) <= 20);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_comes() {
    let world = World::new();
    world.emulator.add_machine(NewMachine::named("off.example.test").offline()).unwrap();
    let started = world.clock.now();
    let result = world.run(world.order_on(3), RunOptions::default()).await.unwrap();
    assert_eq!((result.reason.as_str(), result.action.status.as_str()), ("timed_out", "TimeOut"));
    assert!((7200.0..7300.0).contains(&(world.clock.now() - started)));
    assert!(result.commands.iter().all(|command| command.error.is_none() && command.script.is_none()));
    // Pending for long, it was looked at seldom.
    let lists = world.count(Route::ListMachineActions);
    assert!(lists < 400, "{lists}");
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_stays_pending_is_cancelled() {
    for (fresh, cancel_fault) in [
        (0.0, None),
        (60.0, None),
        (0.0, Some(Fault::status(503))),
        (0.0, Some(fault(FaultKind::DropAfter))),
        (0.0, Some(Fault { body: r#"{"error":{"code":"BadRequest","message":"no"}}"#.into(), ..Fault::status(400) })),
    ] {
        let world = World::switched(|switches| (switches.fresh_404, switches.list_lag) = (fresh, fresh));
        world.emulator.add_machine(NewMachine::named("off.example.test").offline()).unwrap();
        if let Some(fault) = cancel_fault.clone() {
            world.fault("cancel", fault, 1, 5);
        }
        let options = RunOptions { cancel_pending_after: Some(30.0), ..RunOptions::default() };
        let started = world.clock.now();
        let result = world.run(world.order_on(3), options).await.unwrap();
        assert_eq!((result.reason.as_str(), result.is_ok()), ("cancelled", false), "{fresh} {cancel_fault:?}");
        assert!((30.0..600.0).contains(&(world.clock.now() - started)), "{}", world.clock.now() - started);
        assert!(result.message.contains("cancel_pending_after"), "{}", result.message);
        world.broke_nothing();
    }
    // One that started in time is left alone.
    let world = World::new();
    world.script("echo.ps1", 100.0);
    let options = RunOptions { cancel_pending_after: Some(30.0), ..RunOptions::default() };
    assert!(world.run(world.order(), options).await.unwrap().is_ok());
    assert_eq!(world.count(Route::CancelMachineAction), 0);
}

#[tokio::test(start_paused = true)]
async fn cancelling() {
    for status in [400, 409, 404] {
        let world = World::switched(|switches| switches.cancel_ended_status = status);
        world.script("echo.ps1", 100.0);
        let session = world.submit(world.order()).await.unwrap();
        assert_eq!(session.cancel(" ").await.unwrap_err().kind, Kind::InvalidRequest);
        within(HOUR, session.cancel("no longer needed")).await.unwrap();
        let result = within(HOUR, session.result(None, None)).await.unwrap();
        assert_eq!(result.reason, "cancelled", "{}", result.message);
        assert!(result.message.contains("no longer needed"));
        // What is over is returned as it is.
        let over = within(HOUR, session.cancel("again")).await.unwrap();
        assert_eq!((over.status.as_str(), over.is_done()), ("Cancelled", true), "{status}");
        assert!(world.submit(world.order()).await.is_ok());
        let nobody = world.sessions.session("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10");
        assert_eq!(within(HOUR, nobody.cancel("x")).await.unwrap_err().kind, Kind::NotFound);
        world.broke_nothing();
    }
}

#[tokio::test(start_paused = true)]
async fn one_cancelled_while_fresh() {
    let world = World::switched(|switches| (switches.fresh_404, switches.list_lag) = (40.0, 40.0));
    world.script("echo.ps1", 300.0);
    let session = world.submit(world.order()).await.unwrap();
    within(HOUR, session.cancel("no longer needed")).await.unwrap();
    assert_eq!(within(HOUR, session.wait(None, None, None)).await.unwrap().status, "Cancelled");
}
