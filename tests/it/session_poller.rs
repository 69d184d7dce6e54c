//! Tests of the poller: one list call for all open sessions.

use std::sync::Arc;

use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{Fault, Route, Settings};
use mde_live_response::error::Kind;
use mde_live_response::session::Session;

use crate::support::{Fixture, HOUR, max_calls_within, within};

async fn start_fifty(fixture: &Fixture) -> Vec<Session> {
    let mut sessions = Vec::new();
    for machine in 0..50 {
        sessions.push(fixture.submit(fixture.submit_args_for(machine)).await.unwrap());
    }
    sessions
}

fn wait_all(
    fixture: &Arc<Fixture>,
    sessions: Vec<Session>,
) -> Vec<tokio::task::JoinHandle<(f64, mde_live_response::error::Result<f64>)>> {
    let wait = |session: Session| {
        let fixture = fixture.clone();
        tokio::spawn(async move {
            let ended = within(3 * HOUR, session.wait(None, None, None)).await;
            let updated = ended.map(|action| action.last_update_date_time_utc.unwrap().to_unix());
            (fixture.clock.now(), updated)
        })
    };
    sessions.into_iter().map(wait).collect()
}

#[tokio::test(start_paused = true)]
async fn fifty_sessions_need_twenty_lists_a_minute_and_end_soon() {
    let fixture =
        Arc::new(Fixture::with_settings(Settings { machines: 50, ..Settings::default() }));
    let durations = [330.0, 401.7, 555.5, 599.0];
    for (at, seconds) in durations.into_iter().enumerate() {
        fixture.script(&format!("s{at}.ps1"), seconds);
    }
    let runs: Vec<_> = (0..50)
        .map(|machine| {
            let fixture = fixture.clone();
            tokio::spawn(async move {
                let mut order = fixture.submit_args_for(machine);
                order.commands = vec![crate::support::run_script(&format!("s{}.ps1", machine % 4))];
                let session = fixture.submit(order).await.unwrap();
                let ended = within(3 * HOUR, session.wait(None, None, None)).await.unwrap();
                fixture.clock.now() - ended.last_update_date_time_utc.unwrap().to_unix()
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
    let lists = fixture.request_times(Route::ListMachineActions);
    assert!(
        max_calls_within(&lists, 60.0) <= 20,
        "{} lists in a minute",
        max_calls_within(&lists, 60.0)
    );
    assert!(
        max_calls_within(&lists, 3600.0) <= 1200,
        "{} lists in an hour",
        max_calls_within(&lists, 3600.0)
    );
    assert_eq!(fixture.request_count(Route::GetMachineAction), 0);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn ten_clients_of_one_store_poll_about_as_often_as_one() {
    let fixture =
        Arc::new(Fixture::with_settings(Settings { machines: 50, ..Settings::default() }));
    fixture.script("echo.ps1", 590.0);
    let clients: Vec<_> = (0..10).map(|_| fixture.sibling_client()).collect();
    let runs: Vec<_> = (0..50)
        .map(|machine| {
            let (fixture, client) = (fixture.clone(), clients[machine % 10].clone());
            tokio::spawn(async move {
                let session = within(HOUR, client.submit(fixture.submit_args_for(machine), None))
                    .await
                    .unwrap();
                let ended = within(3 * HOUR, session.wait(None, None, None)).await.unwrap();
                fixture.clock.now() - ended.last_update_date_time_utc.unwrap().to_unix()
            })
        })
        .collect();
    let mut delays = Vec::new();
    for run in runs {
        delays.push(run.await.unwrap());
    }
    delays.sort_by(f64::total_cmp);
    assert!(delays[25] <= 4.0, "the median result came {} s after the end", delays[25]);
    let lists = fixture.request_times(Route::ListMachineActions);
    assert!(
        max_calls_within(&lists, 60.0) <= 40,
        "{} lists in a minute",
        max_calls_within(&lists, 60.0)
    );
    assert_eq!(fixture.count_held().await.1, 0);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn actions_missing_from_the_list_are_polled_individually_within_limits() {
    let fixture =
        Arc::new(Fixture::with_settings(Settings { machines: 50, ..Settings::default() }));
    fixture.script("echo.ps1", 500.0);
    fixture.emulator.set_switches(|switches| switches.list_lag = 1e6);
    let sessions = start_fifty(&fixture).await;
    for waiter in wait_all(&fixture, sessions) {
        let (at, updated) = waiter.await.unwrap();
        let late = at - updated.unwrap();
        assert!(late < 240.0, "{late}");
    }
    let single_reads = fixture.request_times(Route::GetMachineAction);
    assert!(
        max_calls_within(&single_reads, 60.0) <= 80,
        "{} in a minute",
        max_calls_within(&single_reads, 60.0)
    );
    assert!(max_calls_within(&fixture.request_times(Route::ListMachineActions), 60.0) <= 20);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_failing_list_ends_every_wait() {
    let forbidden = r#"{"error":{"code":"Forbidden","message":"no","target":"t"}}"#.to_owned();
    for (fault, kind, bound) in [
        (Fault { body: forbidden, ..Fault::status(403) }, Kind::PermissionDenied, 60.0),
        (Fault::status(503), Kind::Service, 600.0),
    ] {
        let fixture = Arc::new(Fixture::new());
        fixture.script("echo.ps1", 550.0);
        let session = fixture.submit(fixture.submit_args()).await.unwrap();
        fixture.fault("machineactions", fault, 1, 100_000);
        let started = fixture.clock.now();
        let error = within(HOUR, session.wait(None, None, None)).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert_eq!(error.action_id.as_deref(), Some(session.id.as_str()));
        assert!(fixture.clock.now() - started < bound);
    }
    // Failures for a short time are retried.
    let fixture = Arc::new(Fixture::new());
    fixture.script("echo.ps1", 60.0);
    fixture.fault("machineactions", Fault::status(503), 1, 6);
    assert!(fixture.run(fixture.submit_args(), Default::default()).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_action_fails_no_other() {
    let fixture = Arc::new(Fixture::with_settings(Settings { machines: 3, ..Settings::default() }));
    fixture.script("echo.ps1", 550.0);
    let good = fixture.submit(fixture.submit_args()).await.unwrap();
    let bad = [
        fixture.sessions.session("not-a-guid"),
        fixture.sessions.session("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10"),
        fixture.sessions.session("a' or 'b' eq 'b"),
    ];
    let waits = bad.map(|session| {
        tokio::spawn(async move { within(HOUR, session.wait(None, None, None)).await })
    });
    let shouting = fixture.sessions.session(&good.id.to_uppercase());
    let shouted = tokio::spawn(async move { within(HOUR, shouting.wait(None, None, None)).await });
    assert_eq!(within(HOUR, good.wait(None, None, None)).await.unwrap().status, "Succeeded");
    assert_eq!(shouted.await.unwrap().unwrap().status, "Succeeded");
    let kinds = [Kind::InvalidRequest, Kind::NotFound, Kind::InvalidRequest];
    for (wait, kind) in waits.into_iter().zip(kinds) {
        assert_eq!(wait.await.unwrap().unwrap_err().kind, kind);
    }
    let queries: Vec<_> =
        fixture.emulator.requests().into_iter().map(|request| request.query).collect();
    assert!(
        !queries.iter().any(|query| query.contains("not-a-guid")),
        "one invalid id would fail the list of all sessions"
    );
    // An action whose individual read always fails.
    let fixture = Arc::new(Fixture::new());
    fixture.script("echo.ps1", 550.0);
    let good = fixture.submit(fixture.submit_args()).await.unwrap();
    fixture.fault("machineaction", Fault::status(500), 1, 100_000);
    let lost = fixture.sessions.session("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10");
    let wait = tokio::spawn(async move { within(HOUR, lost.wait(None, None, None)).await });
    assert_eq!(within(HOUR, good.wait(None, None, None)).await.unwrap().status, "Succeeded");
    assert_eq!(wait.await.unwrap().unwrap_err().kind, Kind::Service);
}

#[tokio::test(start_paused = true)]
async fn polls_leave_a_fifth_of_the_read_limit_to_submits() {
    let limits = Limits { read: vec![Rate { count: 10, per: 60.0 }], ..Limits::default() };
    let fixture = Arc::new(Fixture::with_settings(Settings {
        limits: limits.clone(),
        ..Settings::default()
    }));
    let sessions = fixture.client_with(|options| options.limits = limits);
    fixture.script("echo.ps1", 500.0);
    let session = within(HOUR, sessions.submit(fixture.submit_args(), None)).await.unwrap();
    within(HOUR, session.wait(None, None, None)).await.unwrap();
    let most = max_calls_within(&fixture.request_times(Route::ListMachineActions), 60.0);
    assert!(most <= 8, "{most} of 10");
    fixture.assert_no_violations();
}
