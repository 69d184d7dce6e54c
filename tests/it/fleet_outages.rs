//! What a run needs fails for a while: no row pays for it, and what was started is brought back.

use std::sync::Arc;
use std::time::Duration;

use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{Fault, NewMachine, Route, Settings};
use mde_live_response::error::Kind;
use mde_live_response::fleet::{Cursor, Fleet, Outcome};
use mde_live_response::secret::Secret;
use mde_live_response::session::{CommandResult, SessionResult};
use mde_live_response::state::store;

use crate::fleet_support::*;
use crate::store_support::Redis;
use crate::support::{Down, World, accepted, sleep};

fn all_ok(outcomes: &[Outcome], rows: usize) {
    assert_eq!(outcomes.len(), rows);
    let bad: Vec<_> = outcomes.iter().filter(|outcome| !outcome.is_ok()).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

fn transcripts(result: &SessionResult) -> usize {
    let has = |command: &&CommandResult| command.script.is_some() && command.error.is_none();
    result.commands.iter().filter(has).count()
}

/// Twenty machines, ten of which are at work; then something fails.
async fn under_way(down: Down) -> (World, Fleet) {
    let world = world(20, |_| {});
    world.script("echo.ps1", 90.0);
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(50.0).await;
    assert_eq!((fleet.counts().running, fleet.counts().waiting), (10, 10));
    world.wire.set_down(down);
    (world, fleet)
}

#[tokio::test(start_paused = true)]
async fn a_network_that_is_gone_for_an_hour_costs_no_outcome() {
    let (world, fleet) = under_way(Down::Everything).await;
    sleep(3600.0).await;
    assert_eq!(fleet.counts().succeeded, 0);
    world.wire.set_down(Down::Nothing);
    all_ok(&all(&fleet).await, 20);
    assert_eq!(accepted(&world), 20);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn results_are_waited_for_where_their_host_is_gone() {
    let (world, fleet) = under_way(Down::Results).await;
    sleep(1800.0).await;
    assert_eq!(fleet.counts().succeeded, 0);
    assert_eq!(accepted(&world), 20, "nobody waits for it but those whose results are there");
    world.wire.set_down(Down::Nothing);
    all_ok(&all(&fleet).await, 20);
    for row in 0..20 {
        assert_eq!(transcripts(&fleet.results().of(row).await.unwrap().unwrap()), 1);
    }
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_waits_for_no_result() {
    let (_world, fleet) = under_way(Down::Results).await;
    sleep(600.0).await;
    fleet.cancel("enough", false).await.unwrap();
    let outcomes = all(&fleet).await;
    let late = outcomes.iter().map(|outcome| outcome.ended).fold(0.0, f64::max);
    let reasons = reasons(&outcomes);
    assert!(reasons.iter().all(|reason| reason == "fetch"), "{reasons:?}");
    assert!(outcomes.iter().all(|outcome| late - outcome.ended < 120.0), "they end with the run");
    let left = fleet.results().of(0).await.unwrap().unwrap();
    assert!(left.commands[0].error.as_ref().unwrap().retryable);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_stays_broken_ends_its_row() {
    let world = world(1, |_| {});
    let broken = Fault::status(500);
    world.emulator.fault("*", "blob", broken, 1, 1_000_000).unwrap();
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    let outcomes = all(&fleet).await;
    assert_eq!(reasons(&outcomes), ["fetch"]);
    assert!(outcomes[0].ended - outcomes[0].started.unwrap() < 1200.0, "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn who_can_not_sign_in_loses_no_session_and_no_row() {
    let (world, fleet) = under_way(Down::SignIn).await;
    let error = try_all(&fleet).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::Authentication, "the client secret is wrong"));
    assert_eq!(fleet.counts().failed, 0);
    sleep(600.0).await;
    world.wire.set_down(Down::Nothing);
    let again = Fleet::resume(&world.sessions, fleet.run_id()).await.unwrap();
    all_ok(&all(&again).await, 20);
    assert_eq!(accepted(&world), 20);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn who_can_not_sign_in_from_the_start_can_go_on_once_they_can() {
    for named in [false, true] {
        let world = world(3, |_| {});
        let names = (1..=3).map(|number| format!("ws-{number:04}")).collect();
        let rows = if named { names } else { world.emulator.machine_ids() };
        let fleet = start(&world.sessions, order(rows)).await;
        world.wire.set_down(Down::SignIn);
        assert_eq!(try_all(&fleet).await.unwrap_err().kind, Kind::Authentication);
        assert!(!fleet.is_at_work() && !fleet.is_over());
        world.wire.set_down(Down::Nothing);
        let again = Fleet::resume(&world.sessions, fleet.run_id()).await.unwrap();
        all_ok(&all(&again).await, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_rows_of_one_who_can_not_sign_in_are_the_others_at_once() {
    let (world, fleet) = under_way(Down::SignIn).await;
    try_all(&fleet).await.unwrap_err();
    world.wire.set_down(Down::Nothing);
    let began = world.clock.now();
    let other = Fleet::resume(&world.sibling(), fleet.run_id()).await.unwrap();
    sleep(5.0).await;
    assert!(
        other.counts().running + other.counts().pending >= 9,
        "{:?} after {}",
        other.counts(),
        world.clock.now() - began
    );
    all_ok(&all(&other).await, 20);
}

/// A stopped run of very many rows tells each, and has few of them under way at a time.
#[tokio::test(start_paused = true)]
async fn very_many_rows_are_left_out_in_order() {
    let world = world(0, |_| {});
    for number in 0..3000 {
        world.emulator.add_machine(NewMachine::named(format!("m-{number:04}"))).unwrap();
    }
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(30.0).await;
    fleet.cancel("enough", true).await.unwrap();
    let outcomes = all(&fleet).await;
    let reasons = reasons(&outcomes);
    let not_submitted = reasons.iter().filter(|reason| *reason == "not_submitted").count();
    assert_eq!(not_submitted + world.count(Route::RunLiveResponse), 3000);
}

/// A window of the service's is a second here, and a server that does not answer is given up on in a moment.
fn quick() -> Limits {
    let rate = vec![Rate::new(1000, 1.0).unwrap()];
    Limits { submit: rate.clone(), read: rate, settle_time: 2.0, ..Limits::default() }
}

#[tokio::test]
async fn a_redis_that_goes_and_comes_back_costs_no_outcome() {
    let Some(mut redis) = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]) else { return };
    let world = World::with(Settings { machines: 60, limits: quick(), ..Settings::default() });
    world.script("echo.ps1", 0.4);
    let quotas = Arc::default();
    let sessions = world.sharing(&quotas, |options| {
        options.limits = Limits { sessions: 10, ..quick() };
        options.state = Secret::new(redis.address());
    });
    let (key, _) = world.sessions.pipeline.state().await.unwrap();
    let settings = store::Settings::new(&key, &sessions.pipeline.options.limits, world.clock);
    let impatient = store::Settings { patience: 0.2, ..settings };
    let _open = quotas.get_with(&redis.address(), impatient, 1.0).await.unwrap();
    let fleet = start(&sessions, order(world.emulator.machine_ids())).await;
    let mut cursor = Cursor::default();
    fleet.next(&mut cursor).await.unwrap();
    redis.kill();
    // What was read before is told yet, and then there is no news.
    while let Ok(read) = tokio::time::timeout(Duration::from_secs(3), fleet.next(&mut cursor)).await {
        read.unwrap().unwrap();
    }
    assert!(fleet.is_at_work() && !fleet.is_over());
    redis.restart();
    all_ok(&all(&fleet).await, 60);
    assert_eq!(accepted(&world), 60);
    nothing_ran_twice(&world).await;
    world.broke_nothing();
}

/// A submit that lands late is looked for until the settle time is over, though the run was stopped meanwhile.
#[tokio::test(start_paused = true)]
async fn a_stopped_run_tells_of_a_submit_that_landed_late() {
    let world = world(1, |_| {});
    world.wire.late_submits.lock().unwrap().push_back(100.0);
    let fleet = start(&world.sessions, order(world.emulator.machine_ids())).await;
    sleep(2.0).await;
    fleet.cancel("enough", false).await.unwrap();
    fleet.detach();
    let again = Fleet::resume(&world.sessions, fleet.run_id()).await.unwrap();
    all_ok(&all(&again).await, 1);
    assert_eq!(accepted(&world), 1);
}
