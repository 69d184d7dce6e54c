//! Tests of the two kinds of 429, and of the submit queue.

use std::sync::Arc;

use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{
    Fault, ForeignSessionResponse, Route, Settings, ThrottleResponse,
};
use mde_live_response::error::Kind;
use mde_live_response::session::{RunOptions, Sessions, SubmitRequest};

use crate::support::{Fixture, HOUR, count_accepted, max_calls_within, sleep, within};

fn waiting(submit: SubmitRequest) -> SubmitRequest {
    SubmitRequest { wait_if_busy: true, ..submit }
}

#[tokio::test(start_paused = true)]
async fn many_submits_queued_for_one_machine_share_its_polls() {
    let fixture = Arc::new(Fixture::new());
    fixture.script("echo.ps1", 400.0);
    let submits: Vec<_> = (0..40)
        .map(|_| {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                within(20 * HOUR, fixture.sessions.submit(waiting(fixture.submit_args()), None))
                    .await
                    .unwrap()
            })
        })
        .collect();
    sleep(3000.0).await;
    let lists = fixture.request_times(Route::ListMachineActions);
    assert!(max_calls_within(&lists, 60.0) <= 20, "{} in a minute", max_calls_within(&lists, 60.0));
    assert!(
        fixture.request_count(Route::RunLiveResponse) >= 7,
        "{}",
        fixture.request_count(Route::RunLiveResponse)
    );
    submits.iter().for_each(tokio::task::JoinHandle::abort);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_submit_waits_for_a_full_tenant() {
    for answer in [ThrottleResponse::Plain, ThrottleResponse::Empty, ThrottleResponse::Html] {
        let limits = Limits { sessions: 3, ..Limits::default() };
        let fixture =
            Fixture::with_settings(Settings { machines: 5, limits, ..Settings::default() });
        fixture.emulator.set_switches(|switches| switches.cap_answer = answer);
        for machine in ["ws-0001", "ws-0002", "ws-0003"] {
            fixture
                .emulator
                .add_foreign_session(machine, 500.0, true, ForeignSessionResponse::Error)
                .unwrap();
        }
        let error = within(HOUR, fixture.sessions.submit(fixture.submit_args_for(4), Some(30.0)))
            .await
            .unwrap_err();
        assert_eq!((error.kind, error.action_id.clone()), (Kind::WaitTimeout, None), "{error:?}");
        let started = fixture.clock.now();
        assert!(
            fixture.run(fixture.submit_args_for(4), RunOptions::default()).await.unwrap().is_ok()
        );
        let waited = fixture.clock.now() - started;
        assert!((400.0..700.0).contains(&waited), "{waited}");
        assert!(
            fixture.request_count(Route::RunLiveResponse) < 40,
            "{}",
            fixture.request_count(Route::RunLiveResponse)
        );
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_full_tenant_is_bounded() {
    let limits = Limits { sessions: 1, ..Limits::default() };
    let fixture = Fixture::with_settings(Settings { limits, ..Settings::default() });
    fixture
        .emulator
        .add_foreign_session("ws-0002", 1e6, true, ForeignSessionResponse::Error)
        .unwrap();
    let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
    assert_eq!(error.kind, Kind::Throttled);
    assert!(error.retryable && error.hint.is_some(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_submit_waits_for_a_rate_limit_that_another_client_used_up() {
    for (answer, header) in [
        (ThrottleResponse::Full, true),
        (ThrottleResponse::Full, false),
        (ThrottleResponse::Empty, false),
    ] {
        let fixture = Fixture::with_settings(Settings { machines: 15, ..Settings::default() });
        fixture.emulator.set_switches(|switches| {
            (switches.rate_answer, switches.rate_retry_after) = (answer, header)
        });
        // A client of the same application that shares no store.
        let other = fixture.unrelated_client();
        for machine in 0..10 {
            within(HOUR, other.submit(fixture.submit_args_for(machine), None)).await.unwrap();
        }
        let started = fixture.clock.now();
        let session = fixture.submit(fixture.submit_args_for(10)).await.unwrap();
        let waited = fixture.clock.now() - started;
        assert!((50.0..=130.0).contains(&waited), "{answer:?} {header}: {waited}");
        assert!(!session.adopted);
        let posts = fixture.request_count(Route::RunLiveResponse);
        assert!(posts <= if answer == ThrottleResponse::Full { 12 } else { 16 }, "{posts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_with_no_or_zero_retry_after_causes_no_retry_storm() {
    let quota = r#"{"error":{"code":"429","message":"API calls quota exceeded!","target":"t"}}"#;
    let retry_after = |seconds: &str| [("Retry-After".to_owned(), seconds.to_owned())].into();
    for (fault, waits) in [
        (Fault { body: quota.into(), ..Fault::status(429) }, 120.0..400.0),
        (Fault { headers: retry_after("7"), ..Fault::status(429) }, 14.0..16.0),
        (Fault { headers: retry_after("0"), ..Fault::status(429) }, 0.5..4.0),
    ] {
        let fixture = Fixture::new();
        fixture.fault("runliveresponse", fault.clone(), 1, 2);
        let started = fixture.clock.now();
        fixture.submit(fixture.submit_args()).await.unwrap();
        let waited = fixture.clock.now() - started;
        assert!(waits.contains(&waited), "{fault:?}: {waited}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_429_beyond_max_wait_still_delays_the_endpoint() {
    let fixture = Fixture::new();
    let headers = [("Retry-After".to_owned(), "300".to_owned())].into();
    fixture.fault("machines", Fault { headers, ..Fault::status(429) }, 1, 1);
    let pipeline = &fixture.sessions.pipeline;
    let error = within(HOUR, pipeline.list_machines(None, None)).await.unwrap_err();
    assert_eq!((error.kind, error.retry_after), (Kind::Throttled, Some(300.0)));
    let started = fixture.clock.now();
    assert_eq!(
        within(HOUR, pipeline.list_machines(None, None)).await.unwrap_err().kind,
        Kind::Throttled
    );
    assert!((fixture.clock.now() - started - 180.0).abs() < 1.0);
    assert!(within(HOUR, pipeline.list_machines(None, None)).await.is_ok());
    assert!((fixture.clock.now() - started - 300.0).abs() < 1.0);
    assert_eq!(fixture.request_count(Route::ListMachines), 2);
}

/// Returns a client with its own store that may submit once in `seconds`.
fn client_with_small_window(fixture: &Fixture, seconds: f64) -> Arc<Sessions> {
    fixture.client_with(|options| {
        options.limits.submit = vec![Rate { count: 1, per: seconds }];
    })
}

#[tokio::test(start_paused = true)]
async fn after_a_long_wait_a_submit_of_another_store_with_the_id_is_found() {
    for seconds in [600.0, 30.0] {
        let fixture = Fixture::new();
        fixture.script("echo.ps1", 5.0);
        let busy = client_with_small_window(&fixture, seconds);
        within(HOUR, busy.submit(fixture.submit_args_for(1), None)).await.unwrap();
        let submit = fixture.submit_args_with_id("one");
        let waiting = tokio::spawn({
            let busy = busy.clone();
            async move { within(HOUR, busy.submit(submit, None)).await.unwrap() }
        });
        sleep(1.0).await;
        let session = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
        assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
        let found = waiting.await.unwrap();
        assert_eq!((found.id, found.adopted), (session.id, true), "{seconds}");
        assert_eq!(count_accepted(&fixture), 2, "{seconds}");
        let (_, quota) = busy.pipeline.shared_quota().await.unwrap();
        let slot = quota.slot_on_machine(&fixture.machine(0)).await.unwrap();
        assert!(slot.is_none(), "{slot:?}");
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_that_arrives_while_its_repetition_waits_is_found() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 5.0);
    let client = client_with_small_window(&fixture, 600.0);
    // It arrives after the settle time, while the repetition waits for the window.
    fixture.network.submit_delays.lock().unwrap().push_back(300.0);
    let session = within(HOUR, client.submit(fixture.submit_args(), None)).await.unwrap();
    assert!(!session.adopted && within(HOUR, session.result(None, None)).await.unwrap().is_ok());
    assert_eq!(count_accepted(&fixture), 1);
    fixture.assert_no_violations();
}
