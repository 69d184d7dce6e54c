//! The two 429s, and the lines in which submits stand.

use std::sync::Arc;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{Answer429, Fault, ForeignAnswer, Route, Settings};
use mde_live_response::error::Kind;
use mde_live_response::session::{RunOptions, Submit};

use crate::support::{HOUR, World, most_within, sleep, within};

fn waiting(submit: Submit) -> Submit {
    Submit { wait_if_busy: true, ..submit }
}

#[tokio::test(start_paused = true)]
async fn many_in_line_for_one_machine_ask_no_more_than_one() {
    let world = Arc::new(World::new());
    world.script("echo.ps1", 400.0);
    let submits: Vec<_> = (0..40)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move {
                within(20 * HOUR, world.sessions.submit(waiting(world.order()), None)).await.unwrap()
            })
        })
        .collect();
    sleep(3000.0).await;
    let lists = world.times(Route::ListMachineActions);
    assert!(most_within(&lists, 60.0) <= 20, "{} in a minute", most_within(&lists, 60.0));
    assert!(world.count(Route::RunLiveResponse) >= 7, "{}", world.count(Route::RunLiveResponse));
    submits.iter().for_each(tokio::task::JoinHandle::abort);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn a_full_tenant_is_waited_for() {
    for answer in [Answer429::Plain, Answer429::Empty, Answer429::Html] {
        let limits = Limits { sessions: 3, ..Limits::default() };
        let world = World::with(Settings { machines: 5, limits, ..Settings::default() });
        world.emulator.set_switches(|switches| switches.cap_answer = answer);
        for machine in ["ws-0001", "ws-0002", "ws-0003"] {
            world.emulator.add_foreign_session(machine, 500.0, true, ForeignAnswer::Error).unwrap();
        }
        let error = within(HOUR, world.sessions.submit(world.order_on(4), Some(30.0))).await.unwrap_err();
        assert_eq!((error.kind, error.action_id.clone()), (Kind::WaitTimeout, None), "{error:?}");
        let started = world.clock.now();
        assert!(world.run(world.order_on(4), RunOptions::default()).await.unwrap().is_ok());
        let waited = world.clock.now() - started;
        assert!((400.0..700.0).contains(&waited), "{waited}");
        assert!(world.count(Route::RunLiveResponse) < 40, "{}", world.count(Route::RunLiveResponse));
        world.broke_nothing();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_tenant_is_not_waited_for_for_ever() {
    let limits = Limits { sessions: 1, ..Limits::default() };
    let world = World::with(Settings { limits, ..Settings::default() });
    world.emulator.add_foreign_session("ws-0002", 1e6, true, ForeignAnswer::Error).unwrap();
    let error = world.submit(world.order()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Throttled);
    assert!(error.retryable && error.hint.is_some(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_another_used_up_is_waited_for() {
    for (answer, header) in [(Answer429::Full, true), (Answer429::Full, false), (Answer429::Empty, false)] {
        let world = World::with(Settings { machines: 15, ..Settings::default() });
        world.emulator.set_switches(|switches| (switches.rate_answer, switches.rate_retry_after) = (answer, header));
        // A sibling with the same application and a store of its own.
        let sibling = world.elsewhere();
        for machine in 0..10 {
            within(HOUR, sibling.submit(world.order_on(machine), None)).await.unwrap();
        }
        let started = world.clock.now();
        let session = world.submit(world.order_on(10)).await.unwrap();
        let waited = world.clock.now() - started;
        assert!((50.0..=130.0).contains(&waited), "{answer:?} {header}: {waited}");
        assert!(!session.adopted);
        let posts = world.count(Route::RunLiveResponse);
        assert!(posts <= if answer == Answer429::Full { 12 } else { 16 }, "{posts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_that_tells_no_seconds_or_none_at_all_makes_no_storm() {
    let quota = r#"{"error":{"code":"429","message":"API calls quota exceeded!","target":"t"}}"#;
    let told = |seconds: &str| [("Retry-After".to_owned(), seconds.to_owned())].into();
    for (fault, waits) in [
        (Fault { body: quota.into(), ..Fault::status(429) }, 120.0..400.0),
        (Fault { headers: told("7"), ..Fault::status(429) }, 14.0..16.0),
        (Fault { headers: told("0"), ..Fault::status(429) }, 0.5..4.0),
    ] {
        let world = World::new();
        world.fault("runliveresponse", fault.clone(), 1, 2);
        let started = world.clock.now();
        world.submit(world.order()).await.unwrap();
        let waited = world.clock.now() - started;
        assert!(waits.contains(&waited), "{fault:?}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_beyond_max_wait_holds_back_the_endpoint_all_the_same() {
    let world = World::new();
    let headers = [("Retry-After".to_owned(), "300".to_owned())].into();
    world.fault("machines", Fault { headers, ..Fault::status(429) }, 1, 1);
    let pipeline = &world.sessions.pipeline;
    let error = within(HOUR, pipeline.machines(None, None)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Kind::Throttled, Some(300.0)));
    let started = world.clock.now();
    assert_eq!(within(HOUR, pipeline.machines(None, None)).await.unwrap_err().kind, Kind::Throttled);
    assert!((world.clock.now() - started - 180.0).abs() < 1.0);
    assert!(within(HOUR, pipeline.machines(None, None)).await.is_ok());
    assert!((world.clock.now() - started - 300.0).abs() < 1.0);
    assert_eq!(world.count(Route::ListMachines), 2);
}
