//! Tests of correlation ids: each starts one action, from any caller, even if callers cancel.

use std::sync::Arc;

use mde_live_response::emulator::{Fault, FaultKind, ForeignSessionResponse, Route};
use mde_live_response::error::Kind;
use mde_live_response::model::Command;
use mde_live_response::session::SubmitRequest;
use mde_live_response::state::store::IntentKey;

use crate::support::{Fixture, HOUR, count_accepted, fault, run_script, sleep, within};

#[tokio::test(start_paused = true)]
async fn the_same_id_returns_the_same_session_and_other_commands_are_rejected() {
    let fixture = Fixture::new();
    let first = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    let second = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    assert!(!first.adopted && second.adopted && first.id == second.id);
    let other = SubmitRequest {
        commands: vec![run_script("other.ps1")],
        ..fixture.submit_args_with_id("one")
    };
    assert_eq!(fixture.submit(other.clone()).await.unwrap_err().kind, Kind::InvalidRequest);
    assert!(within(HOUR, first.result(None, None)).await.unwrap().is_ok());
    let over = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    assert!(over.adopted && over.id == first.id, "a session that has ended is found too");
    // Another process finds the action by its tag in the list.
    let elsewhere = fixture.unrelated_client();
    let third =
        within(HOUR, elsewhere.submit(fixture.submit_args_with_id("one"), None)).await.unwrap();
    assert!(third.adopted && third.id == first.id);
    let elsewhere = fixture.unrelated_client();
    assert_eq!(
        within(HOUR, elsewhere.submit(other, None)).await.err().unwrap().kind,
        Kind::InvalidRequest
    );
    // The rejected submit stored nothing: the right commands are accepted.
    assert!(
        within(HOUR, elsewhere.submit(fixture.submit_args_with_id("one"), None))
            .await
            .unwrap()
            .adopted
    );
    assert_eq!(count_accepted(&fixture), 1);
    // On another machine the same id is another submit.
    let on_other =
        SubmitRequest { correlation_id: Some("one".into()), ..fixture.submit_args_for(1) };
    assert!(!fixture.submit(on_other).await.unwrap().adopted);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn the_same_id_in_one_process_at_once_starts_one_action() {
    for on_post in [None, Some(fault(FaultKind::DropAfter)), Some(Fault::status(503))] {
        let fixture = Arc::new(Fixture::new());
        if let Some(fault) = on_post {
            fixture.fault("runliveresponse", fault, 1, 1);
        }
        let submits: Vec<_> = (0..8)
            .map(|_| {
                let fixture = fixture.clone();
                tokio::spawn(async move {
                    fixture.submit(fixture.submit_args_with_id("one")).await.unwrap()
                })
            })
            .collect();
        let mut started = 0;
        let mut ids = std::collections::HashSet::new();
        for submit in submits {
            let session = submit.await.unwrap();
            started += usize::from(!session.adopted);
            ids.insert(session.id);
        }
        assert_eq!((started, ids.len(), count_accepted(&fixture) <= 1), (1, 1, true));
        assert_eq!(fixture.actions().await.len(), 1);
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_at_once_start_one_action() {
    // In the last case the first action ends before any list shows it.
    for (lag, length) in [(0.0, 40.0), (30.0, 40.0), (60.0, 10.0)] {
        let fixture = Fixture::with_switches(|switches| switches.list_lag = lag);
        fixture.script("echo.ps1", length);
        let elsewhere = fixture.unrelated_client();
        let wait = SubmitRequest { wait_if_busy: true, ..fixture.submit_args_with_id("one") };
        let (here, there) = within(HOUR, async {
            tokio::join!(
                fixture.sessions.submit(wait.clone(), None),
                elsewhere.submit(wait.clone(), None)
            )
        })
        .await;
        let (here, there) = (here.unwrap(), there.unwrap());
        assert_eq!(here.id, there.id, "lag {lag}");
        assert!(here.adopted != there.adopted);
        assert_eq!(fixture.actions().await.len(), 1);
        assert_eq!(fixture.emulator.violations().duplicate_submit, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn find_starts_nothing() {
    let fixture = Fixture::new();
    let machine = fixture.machine(0);
    assert!(within(HOUR, fixture.sessions.find(&machine, "one")).await.unwrap().is_none());
    let session = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    for sessions in [fixture.sessions.clone(), fixture.unrelated_client()] {
        let found = within(HOUR, sessions.find(&machine, "one")).await.unwrap().unwrap();
        assert!(
            found.id == session.id
                && found.adopted
                && found.correlation_id.as_deref() == Some("one")
        );
        assert!(within(HOUR, sessions.find(&fixture.machine(1), "one")).await.unwrap().is_none());
    }
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 1);
    // A replica may not know a new action yet.
    let fixture =
        Fixture::with_switches(|switches| (switches.fresh_404, switches.list_lag) = (100.0, 100.0));
    let session = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    let found =
        within(HOUR, fixture.sessions.find(&fixture.machine(0), "one")).await.unwrap().unwrap();
    assert_eq!(found.id, session.id);
    assert_eq!(fixture.submit(fixture.submit_args_with_id("one")).await.unwrap().id, session.id);
}

#[tokio::test(start_paused = true)]
async fn a_comment_that_ends_in_the_tag_of_another_submit() {
    let fixture = Fixture::new();
    let first = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    let comment = first.action().unwrap().requestor_comment.unwrap();
    assert!(comment.starts_with("case 42 [mlr:"), "{comment}");
    within(HOUR, first.wait(None, None, None)).await.unwrap();
    let second = fixture
        .submit(SubmitRequest { comment, ..fixture.submit_args_with_id("two") })
        .await
        .unwrap();
    assert!(!second.adopted && second.id != first.id);
    within(HOUR, second.wait(None, None, None)).await.unwrap();
    assert_eq!(fixture.submit(fixture.submit_args_with_id("one")).await.unwrap().id, first.id);
    assert_eq!(
        within(HOUR, fixture.unrelated_client().submit(fixture.submit_args_with_id("one"), None))
            .await
            .unwrap()
            .id,
        first.id
    );
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn invalid_arguments_send_no_request() {
    let fixture = Fixture::new();
    let submit_args = || fixture.submit_args();
    let wrong = [
        SubmitRequest { commands: vec![], ..submit_args() },
        SubmitRequest {
            commands: vec![Command::get_file("/a").unwrap(), run_script("a.ps1")],
            ..submit_args()
        },
        SubmitRequest { comment: " \n".into(), ..submit_args() },
        SubmitRequest { correlation_id: Some(String::new()), ..submit_args() },
        SubmitRequest { correlation_id: Some("x".repeat(129)), ..submit_args() },
        SubmitRequest { machine_id: "ws-0001".into(), ..submit_args() },
        SubmitRequest { machine_id: "../machineactions".into(), ..submit_args() },
    ];
    for submit in wrong {
        let error = fixture.submit(submit.clone()).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidRequest, "{submit:?}");
    }
    assert!(fixture.emulator.requests().is_empty());
    let long = SubmitRequest { correlation_id: Some("ä".repeat(128)), ..submit_args() };
    assert!(fixture.submit(long).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_submit_whose_caller_cancelled_is_settled_and_found() {
    for on_post in [Fault::delay(5.0), fault(FaultKind::DropAfter), Fault::status(503)] {
        let fixture = Arc::new(Fixture::new());
        fixture.script("echo.ps1", 60.0);
        fixture.fault("runliveresponse", on_post.clone(), 1, 1);
        // The caller cancels while the POST is sent, or while it is settled.
        let caller = tokio::spawn({
            let fixture = fixture.clone();
            async move { fixture.submit(fixture.submit_args_with_id("one")).await }
        });
        sleep(0.2).await;
        caller.abort();
        sleep(300.0).await;
        let found = within(HOUR, fixture.sessions.find(&fixture.machine(0), "one")).await.unwrap();
        let was_acted_on = on_post.kind != FaultKind::Status;
        assert_eq!(found.is_some(), was_acted_on, "no second POST after a cancel: {on_post:?}");
        let posts = fixture.request_count(Route::RunLiveResponse);
        assert_eq!(posts, 1);
        let session = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
        assert_eq!(session.adopted, was_acted_on);
        assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
        assert_eq!(fixture.actions().await.len(), 1);
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_submit_cancelled_in_the_queue_sends_and_stores_nothing() {
    let fixture = Arc::new(Fixture::new());
    fixture.script("echo.ps1", 100.0);
    let (_, quota) = fixture.sessions.pipeline.shared_quota().await.unwrap();
    let first = fixture.submit(fixture.submit_args()).await.unwrap();
    let key = IntentKey { machine_id: fixture.machine(0), correlation_id: "cancelled".into() };
    let caller = tokio::spawn({
        let fixture = fixture.clone();
        async move {
            fixture
                .submit(SubmitRequest {
                    wait_if_busy: true,
                    ..fixture.submit_args_with_id("cancelled")
                })
                .await
        }
    });
    sleep(10.0).await;
    assert!(quota.store().get_intent(key.clone()).await.unwrap().is_some());
    caller.abort();
    sleep(0.1).await;
    assert!(
        quota.store().get_intent(key).await.unwrap().is_none(),
        "the intent of a cancelled submit is deleted"
    );
    within(HOUR, first.wait(None, None, None)).await.unwrap();
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 1);
    assert_eq!(fixture.count_held().await.1, 0);
    // It does not block later submits.
    assert!(fixture.submit(fixture.submit_args()).await.is_ok());
    let other = SubmitRequest {
        commands: vec![run_script("other.ps1")],
        machine_id: fixture.machine(1),
        ..fixture.submit_args_with_id("cancelled")
    };
    assert!(fixture.submit(other).await.is_ok());
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_delete_the_intent_of_the_others() {
    for foreign in [true, false] {
        check_caller_gives_up(foreign).await;
    }
}

async fn check_caller_gives_up(foreign: bool) {
    let fixture = Arc::new(Fixture::new());
    fixture.script("echo.ps1", 20.0);
    if foreign {
        fixture
            .emulator
            .add_foreign_session("ws-0001", 200.0, true, ForeignSessionResponse::Error)
            .unwrap();
    } else {
        fixture.submit(fixture.submit_args()).await.unwrap();
    }
    let wait = SubmitRequest { wait_if_busy: true, ..fixture.submit_args_with_id("one") };
    let submit = |timeout| {
        let (sessions, wait) = (fixture.sessions.clone(), wait.clone());
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
    assert_eq!(fixture.actions().await.len(), 2, "the earlier one and ours");
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn the_number_of_stored_intents_is_bounded() {
    let fixture = Fixture::new();
    let (_, quota) = fixture.sessions.pipeline.shared_quota().await.unwrap();
    for i in 0..30_000 {
        let key = IntentKey { machine_id: fixture.machine(0), correlation_id: i.to_string() };
        quota.begin_intent(&key, &[run_script("a.ps1")], "why").await.unwrap();
        quota
            .store()
            .get_or_create_intent(key.clone(), vec![run_script("a.ps1")], "why".into())
            .await
            .unwrap();
        quota.store().record_action(key, i.to_string(), None).await.unwrap();
    }
    assert!(fixture.count_held().await.0 <= 10_000);
    let last = IntentKey { machine_id: fixture.machine(0), correlation_id: "29999".into() };
    assert!(quota.store().get_intent(last).await.unwrap().is_some());
}
