//! Correlation ids: one action for each, whoever asks, and whoever leaves.

use std::sync::Arc;

use mde_live_response::emulator::{Fault, FaultKind, ForeignAnswer, Route};
use mde_live_response::error::Kind;
use mde_live_response::model::Command;
use mde_live_response::session::Submit;
use mde_live_response::state::store::IntentKey;

use crate::support::{HOUR, World, accepted, fault, run, sleep, within};

#[tokio::test(start_paused = true)]
async fn the_same_id_adopts_and_other_commands_are_refused() {
    let world = World::new();
    let first = world.submit(world.named("one")).await.unwrap();
    let second = world.submit(world.named("one")).await.unwrap();
    assert!(!first.adopted && second.adopted && first.id == second.id);
    let other = Submit { commands: vec![run("other.ps1")], ..world.named("one") };
    assert_eq!(world.submit(other.clone()).await.unwrap_err().kind, Kind::InvalidRequest);
    assert!(within(HOUR, first.result(None, None)).await.unwrap().is_ok());
    let over = world.submit(world.named("one")).await.unwrap();
    assert!(over.adopted && over.id == first.id, "one that is over is adopted too");
    // Another process, by the tag in the list.
    let elsewhere = world.elsewhere();
    let third = within(HOUR, elsewhere.submit(world.named("one"), None)).await.unwrap();
    assert!(third.adopted && third.id == first.id);
    let elsewhere = world.elsewhere();
    assert_eq!(within(HOUR, elsewhere.submit(other, None)).await.err().unwrap().kind, Kind::InvalidRequest);
    // The refusal left nothing behind that would refuse the right commands.
    assert!(within(HOUR, elsewhere.submit(world.named("one"), None)).await.unwrap().adopted);
    assert_eq!(accepted(&world), 1);
    // The id means something else on another machine.
    let on_other = Submit { correlation_id: Some("one".into()), ..world.order_on(1) };
    assert!(!world.submit(on_other).await.unwrap().adopted);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn the_same_id_in_one_process_at_once_starts_one_action() {
    for on_post in [None, Some(fault(FaultKind::DropAfter)), Some(Fault::status(503))] {
        let world = Arc::new(World::new());
        if let Some(fault) = on_post {
            world.fault("runliveresponse", fault, 1, 1);
        }
        let submits: Vec<_> = (0..8)
            .map(|_| {
                let world = world.clone();
                tokio::spawn(async move { world.submit(world.named("one")).await.unwrap() })
            })
            .collect();
        let mut started = 0;
        let mut ids = std::collections::HashSet::new();
        for submit in submits {
            let session = submit.await.unwrap();
            started += usize::from(!session.adopted);
            ids.insert(session.id);
        }
        assert_eq!((started, ids.len(), accepted(&world) <= 1), (1, 1, true));
        assert_eq!(world.actions().await.len(), 1);
        world.broke_nothing();
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_at_once_start_one_action() {
    // The last: the first one's action is over before any list shows it.
    for (lag, length) in [(0.0, 40.0), (30.0, 40.0), (60.0, 10.0)] {
        let world = World::switched(|switches| switches.list_lag = lag);
        world.script("echo.ps1", length);
        let elsewhere = world.elsewhere();
        let wait = Submit { wait_if_busy: true, ..world.named("one") };
        let (here, there) = within(HOUR, async {
            tokio::join!(world.sessions.submit(wait.clone(), None), elsewhere.submit(wait.clone(), None))
        })
        .await;
        let (here, there) = (here.unwrap(), there.unwrap());
        assert_eq!(here.id, there.id, "lag {lag}");
        assert!(here.adopted != there.adopted);
        assert_eq!(world.actions().await.len(), 1);
        assert_eq!(world.emulator.violations().duplicate_submit, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn find_starts_nothing() {
    let world = World::new();
    let machine = world.machine(0);
    assert!(within(HOUR, world.sessions.find(&machine, "one")).await.unwrap().is_none());
    let session = world.submit(world.named("one")).await.unwrap();
    for sessions in [world.sessions.clone(), world.elsewhere()] {
        let found = within(HOUR, sessions.find(&machine, "one")).await.unwrap().unwrap();
        assert!(found.id == session.id && found.adopted && found.correlation_id.as_deref() == Some("one"));
        assert!(within(HOUR, sessions.find(&world.machine(1), "one")).await.unwrap().is_none());
    }
    assert_eq!(world.count(Route::RunLiveResponse), 1);
    // What was just started may be unknown to the replica that answers.
    let world = World::switched(|switches| (switches.fresh_404, switches.list_lag) = (100.0, 100.0));
    let session = world.submit(world.named("one")).await.unwrap();
    let found = within(HOUR, world.sessions.find(&world.machine(0), "one")).await.unwrap().unwrap();
    assert_eq!(found.id, session.id);
    assert_eq!(world.submit(world.named("one")).await.unwrap().id, session.id);
}

#[tokio::test(start_paused = true)]
async fn a_comment_that_ends_in_anothers_tag() {
    let world = World::new();
    let first = world.submit(world.named("one")).await.unwrap();
    let comment = first.action().unwrap().requestor_comment.unwrap();
    assert!(comment.starts_with("case 42 [mlr:"), "{comment}");
    within(HOUR, first.wait(None, None, None)).await.unwrap();
    let second = world.submit(Submit { comment, ..world.named("two") }).await.unwrap();
    assert!(!second.adopted && second.id != first.id);
    within(HOUR, second.wait(None, None, None)).await.unwrap();
    assert_eq!(world.submit(world.named("one")).await.unwrap().id, first.id);
    assert_eq!(within(HOUR, world.elsewhere().submit(world.named("one"), None)).await.unwrap().id, first.id);
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_right_costs_no_request() {
    let world = World::new();
    let order = || world.order();
    let wrong = [
        Submit { commands: vec![], ..order() },
        Submit { commands: vec![Command::get_file("/a").unwrap(), run("a.ps1")], ..order() },
        Submit { comment: " \n".into(), ..order() },
        Submit { correlation_id: Some(String::new()), ..order() },
        Submit { correlation_id: Some("x".repeat(129)), ..order() },
        Submit { machine_id: "ws-0001".into(), ..order() },
        Submit { machine_id: "../machineactions".into(), ..order() },
    ];
    for submit in wrong {
        let error = world.submit(submit.clone()).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest, "{submit:?}");
    }
    assert!(world.emulator.requests().is_empty());
    let long = Submit { correlation_id: Some("ä".repeat(128)), ..order() };
    assert!(world.submit(long).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_submit_whose_caller_left_still_lands_and_is_found() {
    for on_post in [Fault::delay(5.0), fault(FaultKind::DropAfter), Fault::status(503)] {
        let world = Arc::new(World::new());
        world.script("echo.ps1", 60.0);
        world.fault("runliveresponse", on_post.clone(), 1, 1);
        // The caller leaves while the POST is on its way, or while it is being settled.
        let caller = tokio::spawn({
            let world = world.clone();
            async move { world.submit(world.named("one")).await }
        });
        sleep(0.2).await;
        caller.abort();
        sleep(300.0).await;
        let found = within(HOUR, world.sessions.find(&world.machine(0), "one")).await.unwrap();
        let acted = on_post.kind != FaultKind::Status;
        assert_eq!(found.is_some(), acted, "nothing more is sent for one who left: {on_post:?}");
        let posts = world.count(Route::RunLiveResponse);
        assert_eq!(posts, 1);
        let session = world.submit(world.named("one")).await.unwrap();
        assert_eq!(session.adopted, acted);
        assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
        assert_eq!(world.actions().await.len(), 1);
        world.broke_nothing();
    }
}

#[tokio::test(start_paused = true)]
async fn a_submit_left_in_line_sends_nothing_and_leaves_nothing() {
    let world = Arc::new(World::new());
    world.script("echo.ps1", 100.0);
    let (_, quota) = world.sessions.pipeline.state().await.unwrap();
    let first = world.submit(world.order()).await.unwrap();
    let key = IntentKey { machine_id: world.machine(0), correlation_id: "left".into() };
    let caller = tokio::spawn({
        let world = world.clone();
        async move { world.submit(Submit { wait_if_busy: true, ..world.named("left") }).await }
    });
    sleep(10.0).await;
    assert!(quota.store().known_intent(key.clone()).await.unwrap().is_some());
    caller.abort();
    sleep(0.1).await;
    assert!(
        quota.store().known_intent(key).await.unwrap().is_none(),
        "an intent that nobody means any more is withdrawn"
    );
    within(HOUR, first.wait(None, None, None)).await.unwrap();
    assert_eq!(world.count(Route::RunLiveResponse), 1);
    assert_eq!(world.held().await.1, 0);
    // Nor does it hold up those behind it.
    assert!(world.submit(world.order()).await.is_ok());
    let other = Submit { commands: vec![run("other.ps1")], machine_id: world.machine(1), ..world.named("left") };
    assert!(world.submit(other).await.is_ok());
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn one_who_gives_up_does_not_take_the_intent_from_the_others() {
    for foreign in [true, false] {
        give_up_beside_others(foreign).await;
    }
}

async fn give_up_beside_others(foreign: bool) {
    let world = Arc::new(World::new());
    world.script("echo.ps1", 20.0);
    if foreign {
        world.emulator.add_foreign_session("ws-0001", 200.0, true, ForeignAnswer::Error).unwrap();
    } else {
        world.submit(world.order()).await.unwrap();
    }
    let wait = Submit { wait_if_busy: true, ..world.named("one") };
    let submit = |timeout| {
        let (sessions, wait) = (world.sessions.clone(), wait.clone());
        tokio::spawn(async move { within(HOUR, sessions.submit(wait, timeout)).await })
    };
    let first = submit(None);
    sleep(1.0).await;
    let error = submit(Some(2.0)).await.unwrap().unwrap_err();
    assert_eq!((error.kind, error.action_id.clone()), (Kind::WaitTimeout, None));
    let third = submit(None);
    let (first, third) = (first.await.unwrap().unwrap(), third.await.unwrap().unwrap());
    assert_eq!(first.id, third.id);
    assert!(!first.adopted && third.adopted);
    sleep(300.0).await;
    assert_eq!(world.actions().await.len(), 2, "the one before and ours");
    world.broke_nothing();
}

#[tokio::test(start_paused = true)]
async fn intents_do_not_pile_up() {
    let world = World::new();
    let (_, quota) = world.sessions.pipeline.state().await.unwrap();
    for i in 0..30_000 {
        let key = IntentKey { machine_id: world.machine(0), correlation_id: i.to_string() };
        quota.begin(&key, &[run("a.ps1")], "why").await.unwrap();
        quota.store().intent(key.clone(), vec![run("a.ps1")], "why".into()).await.unwrap();
        quota.store().settled(key, i.to_string(), None).await.unwrap();
    }
    assert!(world.held().await.0 <= 10_000);
    let last = IntentKey { machine_id: world.machine(0), correlation_id: "29999".into() };
    assert!(quota.store().known_intent(last).await.unwrap().is_some());
}
