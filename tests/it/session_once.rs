//! Tests that a submit runs exactly once, for every fault and for repeated submits.

use std::sync::atomic::Ordering;

use mde_live_response::emulator::{
    BusyResponse, Fault, FaultKind, ForeignSessionResponse, Route, Settings, Switches,
};
use mde_live_response::error::Kind;
use mde_live_response::session::SubmitRequest;

use crate::support::{Fixture, HOUR, count_accepted, fault, sleep, within};

/// Every fault that one exchange can have.
fn faults() -> Vec<Fault> {
    let status = |status| Fault::status(status);
    let cut = |keep| Fault { keep, ..fault(FaultKind::Truncate) };
    let body = r#"{"error":{"code":"InternalServerError","message":"","target":"t"}}"#.to_owned();
    vec![
        status(500),
        status(502),
        Fault { body, ..status(503) },
        status(504),
        status(408),
        fault(FaultKind::DropBefore),
        fault(FaultKind::DropUnread),
        fault(FaultKind::DropAfter),
        Fault::delay(31.0),
        cut(Some(0)),
        cut(Some(1)),
        cut(None),
        fault(FaultKind::Garble),
        fault(FaultKind::ExpireToken),
    ]
}

/// Returns whether the service acted on the POST despite the fault.
fn was_acted_on(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::DropAfter | FaultKind::Truncate | FaultKind::Garble)
}

#[tokio::test(start_paused = true)]
async fn every_fault_of_the_post_leaves_one_action_and_its_result() {
    for on_list in [
        None,
        Some(Fault::status(503)),
        Some(fault(FaultKind::DropAfter)),
        Some(fault(FaultKind::Garble)),
    ] {
        for lag in [0.0, 45.0] {
            for on_post in faults() {
                let what = format!("{on_post:?}, list {on_list:?} lagging {lag}");
                let fixture = Fixture::with_switches(|switches| switches.list_lag = lag);
                fixture.script("echo.ps1", 100.0);
                fixture.fault("runliveresponse", on_post.clone(), 1, 1);
                if let Some(fault) = &on_list {
                    fixture.fault("machineactions", fault.clone(), 1, 2);
                }
                let session = fixture
                    .submit(fixture.submit_args_with_id("once"))
                    .await
                    .unwrap_or_else(|e| panic!("{what}: {e:?}"));
                assert!(!session.adopted, "{what}");
                let result = within(HOUR, session.result(None, None)).await.unwrap();
                assert!(result.is_ok(), "{what}: {}", result.message);
                let actions = fixture.actions().await;
                assert_eq!(actions.len(), 1, "{what}");
                assert_eq!(actions[0].id, session.id, "{what}");
                fixture.assert_no_violations();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn if_the_list_fails_too_the_outcome_is_unknown_and_found_later() {
    for on_post in faults() {
        let what = format!("{on_post:?}");
        let fixture = Fixture::new();
        fixture.script("echo.ps1", 30.0);
        fixture.fault("runliveresponse", on_post.clone(), 1, 1);
        let submit = fixture.submit_args_with_id("once");
        let first = {
            // With a given id the list is read once before the POST.
            let sessions = fixture.sessions.clone();
            let (network, submit) = (fixture.network.clone(), submit.clone());
            let cut = tokio::spawn(async move {
                sleep(0.001).await;
                network.drop_lists.store(true, Ordering::SeqCst);
            });
            fixture.fault("machineactions", Fault::delay(0.002), 1, 1);
            let first = within(2 * HOUR, sessions.submit(submit, None)).await;
            cut.await.unwrap();
            first
        };
        if on_post.kind == FaultKind::DropUnread {
            assert!(!first.unwrap().adopted, "{what}");
            continue;
        }
        let error = first.unwrap_err();
        // After a 401, the list is read before the next POST.
        let is_expired = on_post.kind == FaultKind::ExpireToken;
        let kind = if is_expired { Kind::ConnectionFailed } else { Kind::SubmitUnknown };
        assert_eq!(error.kind, kind, "{what}: {error:?}");
        assert!(
            error.retryable
                && (is_expired || error.hint.is_some())
                && error.correlation_id.as_deref() == Some("once"),
            "{what}"
        );
        fixture.network.drop_lists.store(false, Ordering::SeqCst);
        let session =
            fixture.submit(submit).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(session.adopted, was_acted_on(&on_post), "{what}");
        assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok(), "{what}");
        assert_eq!(fixture.actions().await.len(), 1, "{what}");
        fixture.assert_no_violations();
        // The slot and the machine are free again.
        assert!(fixture.submit(fixture.submit_args()).await.is_ok(), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_post_that_fails_too_is_a_service_error_and_the_same_id_can_retry() {
    for on_post in faults() {
        if was_acted_on(&on_post)
            || matches!(on_post.kind, FaultKind::DropUnread | FaultKind::ExpireToken)
        {
            continue;
        }
        let fixture = Fixture::new();
        fixture.fault("runliveresponse", on_post.clone(), 1, 2);
        let error = fixture.submit(fixture.submit_args_with_id("once")).await.unwrap_err();
        assert_eq!(error.kind, Kind::Service, "{on_post:?}: {error:?}");
        assert!(error.retryable && error.hint.is_some(), "{error:?}");
        assert_eq!(fixture.request_count(Route::RunLiveResponse), 2, "{on_post:?}");
        let again = fixture.submit(fixture.submit_args_with_id("once")).await.unwrap();
        assert!(!again.adopted);
        assert_eq!(fixture.actions().await.len(), 1);
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_machine_is_a_service_error_and_holds_no_slot() {
    let fixture = Fixture::new();
    fixture.emulator.set_stuck("ws-0001", true).unwrap();
    let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
    assert_eq!((error.kind, error.status), (Kind::Service, Some(500)));
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 2);
    assert_eq!(fixture.count_held().await.1, 0);
    fixture.emulator.set_stuck("ws-0001", false).unwrap();
    assert!(!fixture.submit(fixture.submit_args()).await.unwrap().adopted);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_lost_post_that_arrives_late_is_found() {
    for seconds in [1.0, 20.0, 59.0, 100.0] {
        let fixture = Fixture::new();
        fixture.script("echo.ps1", 5.0);
        fixture.network.submit_delays.lock().unwrap().push_back(seconds);
        let session = fixture.submit(fixture.submit_args()).await.unwrap();
        assert!(!session.adopted);
        assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
        sleep(1000.0).await;
        assert_eq!((fixture.actions().await.len(), count_accepted(&fixture)), (1, 1), "{seconds}");
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_post_that_arrives_after_the_settle_time_is_found() {
    let cap = Fault {
        body: r#"{"error":{"code":"TooManyRequests","message":"Too many"}}"#.into(),
        ..Fault::status(429)
    };
    let rate = Fault {
        headers: [("Retry-After".to_owned(), "200".to_owned())].into(),
        ..Fault::status(429)
    };
    for (refusal, wait_if_busy) in [(rate.clone(), false), (cap, true), (rate, true)] {
        let fixture = Fixture::new();
        fixture.script("echo.ps1", 5.0);
        fixture.network.submit_delays.lock().unwrap().push_back(122.0);
        // The second POST is refused until the session of the first one has ended.
        fixture.fault("runliveresponse", refusal.clone(), 1, 1);
        let session =
            fixture.submit(SubmitRequest { wait_if_busy, ..fixture.submit_args() }).await.unwrap();
        assert!(!session.adopted, "it was started by this call");
        sleep(1000.0).await;
        assert_eq!(
            (fixture.actions().await.len(), count_accepted(&fixture)),
            (1, 1),
            "{refusal:?}"
        );
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_body_of_nulls_a_404_for_a_new_action_and_a_late_list() {
    for (null, no_comment, fresh, lag) in [
        (30.0, false, 0.0, 0.0),
        (30.0, true, 0.0, 0.0),
        (30.0, true, 60.0, 0.0),
        (0.0, false, 100.0, 0.0),
        (0.0, false, 100.0, 100.0),
        (5.0, true, 100.0, 100.0),
    ] {
        let fixture = Fixture::with_switches(|switches| {
            switches.null_first_body = null;
            switches.null_first_comment = no_comment;
            switches.fresh_404 = fresh;
            switches.list_lag = lag;
        });
        fixture.script("echo.ps1", 150.0);
        let what = (null, no_comment, fresh, lag);
        let session = fixture
            .submit(fixture.submit_args())
            .await
            .unwrap_or_else(|error| panic!("{what:?}: {error:?}"));
        assert!(!session.adopted);
        // A 404 for a new action returns the last known status.
        assert!(within(HOUR, session.refresh(0.0)).await.is_ok(), "{what:?}");
        assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok(), "{what:?}");
        assert_eq!((fixture.actions().await.len(), count_accepted(&fixture)), (1, 1), "{what:?}");
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_with_a_foreign_action_is_a_busy_machine() {
    let fixture = Fixture::with_switches(|switches| switches.busy_answer = BusyResponse::Foreign);
    let foreign = fixture
        .emulator
        .add_foreign_session("ws-0001", 300.0, true, ForeignSessionResponse::Foreign)
        .unwrap();
    let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
    assert_eq!(error.kind, Kind::MachineBusy);
    assert_eq!(error.active_action_id, Some(foreign.to_string()));
    // A submit that waits for the machine never returns the result of the foreign session.
    let result = fixture
        .run(SubmitRequest { wait_if_busy: true, ..fixture.submit_args() }, Default::default())
        .await
        .unwrap();
    assert!(result.is_ok() && result.action.id != foreign.to_string());
    assert_eq!(fixture.actions().await.len(), 2);
    fixture.assert_no_violations();
}

/// Random faults at every call, by seed: repeated runs with the same id end with one action and its
/// result.
#[tokio::test(start_paused = true)]
async fn every_fault_at_every_call_still_runs_once() {
    for seed in 0..60 {
        let mut switches =
            Switches { list_lag: if seed % 2 == 0 { 0.0 } else { 20.0 }, ..Switches::default() };
        switches.fault_kinds.extend([FaultKind::Delay, FaultKind::ExpireToken]);
        switches.fault_rate = [0.1, 0.3, 0.5][seed as usize % 3];
        switches.null_first_body = if seed % 5 == 0 { 10.0 } else { 0.0 };
        switches.null_first_comment = true;
        switches.fresh_404 = if seed % 7 == 0 { 30.0 } else { 0.0 };
        let fixture = Fixture::with_settings(Settings { seed, switches, ..Settings::default() });
        fixture.script("echo.ps1", 20.0);
        let mut ended = None;
        for attempt in 0..100 {
            // Every second try is from another process, with another store.
            let sessions = if attempt % 2 == 1 {
                fixture.unrelated_client()
            } else {
                fixture.sessions.clone()
            };
            match within(
                4 * HOUR,
                sessions.run(fixture.submit_args_with_id("one"), Default::default()),
            )
            .await
            {
                Ok(result) => {
                    ended = Some(result.action);
                    break;
                }
                Err(error) => {
                    assert!(
                        error.retryable || error.kind == Kind::Authentication,
                        "seed {seed}: {error:?}"
                    );
                    sleep(130.0).await;
                }
            }
        }
        let ended = ended.unwrap_or_else(|| panic!("seed {seed}: no result in 100 tries"));
        assert_eq!(ended.status, "Succeeded");
        fixture.emulator.set_switches(|switches| switches.fault_rate = 0.0);
        assert_eq!(fixture.actions().await.len(), 1, "seed {seed}");
        assert_eq!(fixture.emulator.violations().duplicate_submit, 0, "seed {seed}");
        let again = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
        assert!(again.adopted && again.id == ended.id);
    }
}
