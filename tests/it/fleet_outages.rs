//! Outages: no row fails because of them, and running sessions are followed to their end.

use std::sync::Arc;
use std::time::Duration;

use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{Fault, NewMachine, Route, Settings};
use mde_live_response::error::Kind;
use mde_live_response::fleet::{Cursor, Fleet, Outcome};
use mde_live_response::secret::Secret;
use mde_live_response::session::{CommandResult, RunOptions, SessionResult, SubmitRequest};
use mde_live_response::state::store;

use crate::fleet_support::*;
use crate::network::Outage;
use crate::store_support::Redis;
use crate::support::{Fixture, count_accepted, sleep};

fn assert_all_ok(outcomes: &[Outcome], rows: usize) {
    assert_eq!(outcomes.len(), rows);
    let bad: Vec<_> = outcomes.iter().filter(|outcome| !outcome.is_ok()).collect();
    assert!(bad.is_empty(), "{bad:?}");
}

fn count_transcripts(result: &SessionResult) -> usize {
    let has = |command: &&CommandResult| command.script.is_some() && command.error.is_none();
    result.commands.iter().filter(has).count()
}

/// Fetches one result, so that the host of results has answered.
async fn reach_results_host(fixture: &Fixture) {
    let machine = fixture.emulator.add_machine(NewMachine::named("first")).unwrap();
    let submit = SubmitRequest { machine_id: machine.id, ..fixture.submit_args() };
    assert!(fixture.run(submit, RunOptions::default()).await.unwrap().is_ok());
}

/// Starts a run over twenty machines, and starts the outage while ten of them run.
async fn start_then_fail(outage: Outage) -> (Fixture, Fleet) {
    let fixture = fixture(20, |_| {});
    fixture.script("echo.ps1", 90.0);
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(50.0).await;
    assert_eq!((fleet.counts().running, fleet.counts().waiting), (10, 10));
    fixture.network.set_outage(outage);
    (fixture, fleet)
}

#[tokio::test(start_paused = true)]
async fn an_hour_without_a_network_costs_no_outcome() {
    let (fixture, fleet) = start_then_fail(Outage::Everything).await;
    sleep(3600.0).await;
    assert_eq!(fleet.counts().succeeded, 0);
    fixture.network.set_outage(Outage::None);
    assert_all_ok(&all_outcomes(&fleet).await, 20);
    assert_eq!(count_accepted(&fixture), 20);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn results_are_waited_for_while_a_known_host_is_down() {
    let fixture = fixture(20, |_| {});
    let ids = fixture.emulator.machine_ids();
    reach_results_host(&fixture).await;
    let fleet = start(&fixture.sessions, run_spec(ids)).await;
    fixture.network.set_outage(Outage::Results);
    sleep(300.0).await;
    assert_eq!((fleet.counts().succeeded, fleet.counts().failed), (0, 0));
    assert_eq!(
        count_accepted(&fixture),
        21,
        "only the rows whose results are there wait for the host"
    );
    fixture.network.set_outage(Outage::None);
    assert_all_ok(&all_outcomes(&fleet).await, 20);
    for row in 0..20 {
        assert_eq!(count_transcripts(&fleet.results().load(row).await.unwrap().unwrap()), 1);
    }
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_host_of_results_that_is_blocked_or_stays_down_ends_the_rows() {
    for (known, patience) in [(false, 150.0), (true, 760.0)] {
        let fixture = fixture(20, |_| {});
        let ids = fixture.emulator.machine_ids();
        if known {
            reach_results_host(&fixture).await;
        }
        fixture.network.set_outage(Outage::Results);
        let fleet = start(&fixture.sessions, run_spec(ids)).await;
        for outcome in all_outcomes(&fleet).await {
            assert_eq!(outcome.reason, "fetch", "{outcome:?}");
            let result = fleet.results().load(outcome.row).await.unwrap().unwrap();
            let ended = result.commands[0].command.end_time.unwrap().to_unix();
            assert!(outcome.ended - ended < patience, "{known}: {}", outcome.ended - ended);
            let error = result.commands[0].error.as_ref().unwrap();
            assert!(error.retryable);
            let has_cure =
                error.hint.as_ref().is_some_and(|hint| hint.contains("*.blob.core.windows.net"));
            assert!(known || has_cure, "{error:?}");
        }
        fixture.network.set_outage(Outage::None);
        // A failure of the last 15 seconds holds for the next request too.
        sleep(20.0).await;
        let id = fleet.results().load(0).await.unwrap().unwrap().action.id;
        let result = fixture.sessions.session(&id).result(None, None).await.unwrap();
        assert!(result.is_ok(), "{}", result.message);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_run_does_not_wait_for_results() {
    let fixture = fixture(20, |_| {});
    let ids = fixture.emulator.machine_ids();
    reach_results_host(&fixture).await;
    let fleet = start(&fixture.sessions, run_spec(ids)).await;
    fixture.network.set_outage(Outage::Results);
    sleep(300.0).await;
    fleet.cancel("enough", false).await.unwrap();
    let outcomes = all_outcomes(&fleet).await;
    let late = outcomes.iter().map(|outcome| outcome.ended).fold(0.0, f64::max);
    let reasons = reasons_by_row(&outcomes);
    assert!(reasons.iter().all(|reason| reason == "fetch"), "{reasons:?}");
    assert!(
        outcomes.iter().all(|outcome| late - outcome.ended < 120.0),
        "they end when the run is stopped"
    );
    let left = fleet.results().load(0).await.unwrap().unwrap();
    assert!(left.commands[0].error.as_ref().unwrap().retryable);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_keeps_failing_ends_its_row() {
    let fixture = fixture(1, |_| {});
    let error = Fault::status(500);
    fixture.emulator.fault("*", "blob", error, 1, 1_000_000).unwrap();
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    let outcomes = all_outcomes(&fleet).await;
    assert_eq!(reasons_by_row(&outcomes), ["fetch"]);
    assert!(outcomes[0].ended - outcomes[0].started.unwrap() < 1200.0, "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn failed_sign_ins_lose_no_session_and_no_row() {
    let (fixture, fleet) = start_then_fail(Outage::SignIn).await;
    let error = try_all_outcomes(&fleet).await.unwrap_err();
    let message = format!("run {} cannot continue: the client secret is wrong", fleet.run_id());
    assert_eq!((error.kind, &*error.message), (Kind::Authentication, &*message));
    assert_eq!(fleet.counts().failed, 0);
    sleep(600.0).await;
    fixture.network.set_outage(Outage::None);
    let again = Fleet::resume(&fixture.sessions, fleet.run_id()).await.unwrap();
    assert_all_ok(&all_outcomes(&again).await, 20);
    assert_eq!(count_accepted(&fixture), 20);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_sign_in_at_first_resumes_later() {
    for named in [false, true] {
        let fixture = fixture(3, |_| {});
        let names = (1..=3).map(|number| format!("ws-{number:04}")).collect();
        let rows = if named { names } else { fixture.emulator.machine_ids() };
        let fleet = start(&fixture.sessions, run_spec(rows)).await;
        fixture.network.set_outage(Outage::SignIn);
        assert_eq!(try_all_outcomes(&fleet).await.unwrap_err().kind, Kind::Authentication);
        assert!(!fleet.is_active() && !fleet.is_over());
        fixture.network.set_outage(Outage::None);
        let again = Fleet::resume(&fixture.sessions, fleet.run_id()).await.unwrap();
        assert_all_ok(&all_outcomes(&again).await, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_process_that_cannot_sign_in_are_released_at_once() {
    let (fixture, fleet) = start_then_fail(Outage::SignIn).await;
    try_all_outcomes(&fleet).await.unwrap_err();
    fixture.network.set_outage(Outage::None);
    let began = fixture.clock.now();
    let other = Fleet::resume(&fixture.sibling_client(), fleet.run_id()).await.unwrap();
    sleep(5.0).await;
    assert!(
        other.counts().running + other.counts().pending >= 9,
        "{:?} after {}",
        other.counts(),
        fixture.clock.now() - began
    );
    assert_all_ok(&all_outcomes(&other).await, 20);
}

/// A stopped run with very many rows gives each its outcome, a few at a time.
#[tokio::test(start_paused = true)]
async fn very_many_rows_are_skipped_a_few_at_a_time() {
    let fixture = fixture(0, |_| {});
    for number in 0..3000 {
        fixture.emulator.add_machine(NewMachine::named(format!("m-{number:04}"))).unwrap();
    }
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(30.0).await;
    fleet.cancel("enough", true).await.unwrap();
    let outcomes = all_outcomes(&fleet).await;
    let reasons = reasons_by_row(&outcomes);
    let not_submitted = reasons.iter().filter(|reason| *reason == "not_submitted").count();
    assert_eq!(not_submitted + fixture.request_count(Route::RunLiveResponse), 3000);
}

/// Limits with windows of one second, since this test runs in real time.
fn short_limits() -> Limits {
    let rate = vec![Rate::new(1000, 1.0).unwrap()];
    Limits { submit: rate.clone(), read: rate, settle_time: 2.0, ..Limits::default() }
}

#[tokio::test]
async fn a_redis_that_restarts_costs_no_outcome() {
    let Some(mut redis) = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]) else {
        return;
    };
    let fixture = Fixture::with_settings(Settings {
        machines: 60,
        limits: short_limits(),
        ..Settings::default()
    });
    fixture.script("echo.ps1", 0.4);
    let quotas = Arc::default();
    let sessions = fixture.client_sharing(&quotas, |options| {
        options.limits = Limits { sessions: 10, ..short_limits() };
        options.state = Secret::new(redis.address());
    });
    let (key, _) = fixture.sessions.pipeline.shared_quota().await.unwrap();
    let settings =
        store::StoreSettings::new(&key, &sessions.pipeline.options.limits, fixture.clock);
    let impatient = store::StoreSettings { timeout: 0.2, ..settings };
    let _open = quotas.get_with(&redis.address(), impatient, 1.0).await.unwrap();
    let fleet = start(&sessions, run_spec(fixture.emulator.machine_ids())).await;
    let mut cursor = Cursor::default();
    fleet.next(&mut cursor).await.unwrap();
    redis.kill();
    // Outcomes that were read before the outage still come, and then no more.
    while let Ok(read) = tokio::time::timeout(Duration::from_secs(3), fleet.next(&mut cursor)).await
    {
        read.unwrap().unwrap();
    }
    assert!(fleet.is_active() && !fleet.is_over());
    redis.restart();
    assert_all_ok(&all_outcomes(&fleet).await, 60);
    assert_eq!(count_accepted(&fixture), 60);
    assert_nothing_ran_twice(&fixture).await;
    fixture.assert_no_violations();
}

/// A submit that arrives late is searched for until the settle time is over, even in a stopped run.
#[tokio::test(start_paused = true)]
async fn a_stopped_run_reports_a_late_submit() {
    let fixture = fixture(1, |_| {});
    fixture.network.submit_delays.lock().unwrap().push_back(100.0);
    let fleet = start(&fixture.sessions, run_spec(fixture.emulator.machine_ids())).await;
    sleep(2.0).await;
    fleet.cancel("enough", false).await.unwrap();
    fleet.detach();
    let again = Fleet::resume(&fixture.sessions, fleet.run_id()).await.unwrap();
    assert_all_ok(&all_outcomes(&again).await, 1);
    assert_eq!(count_accepted(&fixture), 1);
}
