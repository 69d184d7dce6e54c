//! One list call for all open sessions.

use std::sync::Arc;

use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{Fault, Route, Settings};
use mde_live_response::error::Kind;
use mde_live_response::session::Session;

use crate::support::{HOUR, World, most_within, sleep, within};

async fn fifty(world: &World) -> Vec<Session> {
    let mut sessions = Vec::new();
    for machine in 0..50 {
        sessions.push(world.submit(world.order_on(machine)).await.unwrap());
    }
    sessions
}

fn wait_all(
    world: &Arc<World>,
    sessions: Vec<Session>,
) -> Vec<tokio::task::JoinHandle<(f64, mde_live_response::error::Result<f64>)>> {
    let wait = |session: Session| {
        let world = world.clone();
        tokio::spawn(async move {
            let ended = within(3 * HOUR, session.wait(None, None, None)).await;
            let updated = ended.map(|action| action.last_update_date_time_utc.unwrap().unix());
            (world.clock.now(), updated)
        })
    };
    sessions.into_iter().map(wait).collect()
}

#[tokio::test(start_paused = true)]
async fn fifty_sessions_cost_twenty_lists_a_minute_and_end_soon() {
    let world = Arc::new(World::with(Settings { machines: 50, ..Settings::default() }));
    let durations = [330.0, 401.7, 555.5, 599.0];
    for (at, seconds) in durations.into_iter().enumerate() {
        world.script(&format!("s{at}.ps1"), seconds);
    }
    let runs: Vec<_> = (0..50)
        .map(|machine| {
            let world = world.clone();
            tokio::spawn(async move {
                let mut order = world.order_on(machine);
                order.commands = vec![crate::support::run(&format!("s{}.ps1", machine % 4))];
                let session = world.submit(order).await.unwrap();
                let ended = within(3 * HOUR, session.wait(None, None, None)).await.unwrap();
                world.clock.now() - ended.last_update_date_time_utc.unwrap().unix()
            })
        })
        .collect();
    let mut delays = Vec::new();
    for run in runs {
        delays.push(run.await.unwrap());
    }
    delays.sort_by(f64::total_cmp);
    assert!(delays[25] <= 3.0, "the median result came {} s after the end", delays[25]);
    assert!(delays[49] <= 10.0, "the last result came {} s after the end", delays[49]);
    let lists = world.times(Route::ListMachineActions);
    assert!(most_within(&lists, 60.0) <= 20, "{} lists in a minute", most_within(&lists, 60.0));
    assert!(most_within(&lists, 3600.0) <= 1200, "{} lists in an hour", most_within(&lists, 3600.0));
    assert_eq!(world.count(Route::GetMachineAction), 0);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn ten_clients_of_one_store_look_little_more_often_than_one() {
    let world = Arc::new(World::with(Settings { machines: 50, ..Settings::default() }));
    world.script("echo.ps1", 590.0);
    let clients: Vec<_> = (0..10).map(|_| world.sibling()).collect();
    let runs: Vec<_> = (0..50)
        .map(|machine| {
            let (world, client) = (world.clone(), clients[machine % 10].clone());
            tokio::spawn(async move {
                let session = within(HOUR, client.submit(world.order_on(machine), None)).await.unwrap();
                let ended = within(3 * HOUR, session.wait(None, None, None)).await.unwrap();
                world.clock.now() - ended.last_update_date_time_utc.unwrap().unix()
            })
        })
        .collect();
    let mut delays = Vec::new();
    for run in runs {
        delays.push(run.await.unwrap());
    }
    delays.sort_by(f64::total_cmp);
    assert!(delays[25] <= 4.0, "the median result came {} s after the end", delays[25]);
    let lists = world.times(Route::ListMachineActions);
    assert!(most_within(&lists, 60.0) <= 40, "{} lists in a minute", most_within(&lists, 60.0));
    assert_eq!(world.held().await.1, 0);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_look_of_a_sibling_will_do() {
    let world = World::new();
    world.script("echo.ps1", 60.0);
    let session = world.submit(world.order()).await.unwrap();
    let theirs = world.sibling().session(&session.id);
    session.refresh(0.0).await.unwrap();
    let before = world.emulator.requests().len();
    assert_eq!(theirs.refresh(5.0).await.unwrap().id, session.id);
    assert_eq!(world.emulator.requests().len(), before, "the store knows it");
    sleep(6.0).await;
    theirs.refresh(5.0).await.unwrap();
    assert_eq!(world.emulator.requests().len(), before + 1, "what it knows is too old");
    assert_eq!(world.elsewhere().session(&session.id).refresh(5.0).await.unwrap().id, session.id);
    assert_eq!(world.emulator.requests().len(), before + 2, "another store knows nothing of it");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_misses_some_is_made_up_for_singly_and_within_limits() {
    let world = Arc::new(World::with(Settings { machines: 50, ..Settings::default() }));
    world.script("echo.ps1", 500.0);
    world.emulator.set_switches(|switches| switches.list_lag = 1e6);
    let sessions = fifty(&world).await;
    for waiter in wait_all(&world, sessions) {
        let (at, updated) = waiter.await.unwrap();
        let late = at - updated.unwrap();
        assert!(late < 240.0, "{late}");
    }
    let singly = world.times(Route::GetMachineAction);
    assert!(most_within(&singly, 60.0) <= 80, "{} in a minute", most_within(&singly, 60.0));
    assert!(most_within(&world.times(Route::ListMachineActions), 60.0) <= 20);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_list_that_fails_hangs_nobody() {
    let forbidden = r#"{"error":{"code":"Forbidden","message":"no","target":"t"}}"#.to_owned();
    for (fault, kind, bound) in [
        (Fault { body: forbidden, ..Fault::status(403) }, Kind::PermissionDenied, 60.0),
        (Fault::status(503), Kind::Service, 600.0),
    ] {
        let world = Arc::new(World::new());
        world.script("echo.ps1", 550.0);
        let session = world.submit(world.order()).await.unwrap();
        world.fault("machineactions", fault, 1, 100_000);
        let started = world.clock.now();
        let error = within(HOUR, session.wait(None, None, None)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert_eq!(error.action_id.as_deref(), Some(session.id.as_str()));
        assert!(world.clock.now() - started < bound);
    }
    // A stumble is nothing.
    let world = Arc::new(World::new());
    world.script("echo.ps1", 60.0);
    world.fault("machineactions", Fault::status(503), 1, 6);
    assert!(world.run(world.order(), Default::default()).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_read_takes_no_other_with_it() {
    let world = Arc::new(World::with(Settings { machines: 3, ..Settings::default() }));
    world.script("echo.ps1", 550.0);
    let good = world.submit(world.order()).await.unwrap();
    let bad = [
        world.sessions.session("not-a-guid"),
        world.sessions.session("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10"),
        world.sessions.session("a' or 'b' eq 'b"),
    ];
    let waits = bad.map(|session| tokio::spawn(async move { within(HOUR, session.wait(None, None, None)).await }));
    let shouting = world.sessions.session(&good.id.to_uppercase());
    let shouted = tokio::spawn(async move { within(HOUR, shouting.wait(None, None, None)).await });
    assert_eq!(within(HOUR, good.wait(None, None, None)).await.unwrap().status, "Succeeded");
    assert_eq!(shouted.await.unwrap().unwrap().status, "Succeeded");
    let kinds = [Kind::InvalidRequest, Kind::NotFound, Kind::InvalidRequest];
    for (wait, kind) in waits.into_iter().zip(kinds) {
        assert_eq!(wait.await.unwrap().unwrap_err().kind, kind);
    }
    let queries: Vec<_> = world.emulator.requests().into_iter().map(|request| request.query).collect();
    assert!(!queries.iter().any(|query| query.contains("not-a-guid")), "one wrong id would spoil the list for all");
    // One whose single look always fails.
    let world = Arc::new(World::new());
    world.script("echo.ps1", 550.0);
    let good = world.submit(world.order()).await.unwrap();
    world.fault("machineaction", Fault::status(500), 1, 100_000);
    let lost = world.sessions.session("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10");
    let wait = tokio::spawn(async move { within(HOUR, lost.wait(None, None, None)).await });
    assert_eq!(within(HOUR, good.wait(None, None, None)).await.unwrap().status, "Succeeded");
    assert_eq!(wait.await.unwrap().unwrap_err().kind, Kind::Service);
}

#[tokio::test(start_paused = true)]
async fn the_read_windows_keep_a_fifth_for_settling() {
    let limits = Limits { read: vec![Rate { count: 10, per: 60.0 }], ..Limits::default() };
    let world = Arc::new(World::with(Settings { limits: limits.clone(), ..Settings::default() }));
    let sessions = world.changed(|options| options.limits = limits);
    world.script("echo.ps1", 500.0);
    let session = within(HOUR, sessions.submit(world.order(), None)).await.unwrap();
    within(HOUR, session.wait(None, None, None)).await.unwrap();
    let most = most_within(&world.times(Route::ListMachineActions), 60.0);
    assert!(most <= 8, "{most} of 10");
    world.broke_nothing();
}
