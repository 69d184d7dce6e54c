//! Tests of busy machines, timeouts and cancellation.

use mde_live_response::config::{Limits, Rate};
use mde_live_response::emulator::{Fault, FaultKind, ForeignSessionResponse, NewMachine, Route};
use mde_live_response::error::Kind;
use mde_live_response::model::Command;
use mde_live_response::session::{RunOptions, SubmitRequest};

use crate::support::{
    Fixture, HOUR, count_accepted, count_held, fault, max_calls_within, sleep, within,
};

fn waiting(submit: SubmitRequest) -> SubmitRequest {
    SubmitRequest { wait_if_busy: true, ..submit }
}

#[tokio::test(start_paused = true)]
async fn a_machine_with_a_foreign_session() {
    for (listed, answer) in [
        (true, ForeignSessionResponse::Error),
        (false, ForeignSessionResponse::Error),
        (true, ForeignSessionResponse::Foreign),
        (false, ForeignSessionResponse::Foreign),
    ] {
        let fixture = Fixture::new();
        let foreign =
            fixture.emulator.add_foreign_session("ws-0001", 900.0, listed, answer).unwrap();
        let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
        assert_eq!(error.kind, Kind::MachineBusy, "{error:?}");
        let seen = listed || answer == ForeignSessionResponse::Foreign;
        assert_eq!(
            error.active_action_id,
            seen.then(|| foreign.to_string()),
            "{listed} {answer:?}"
        );
        assert!(error.machine_id.is_some() && error.hint.is_some() && error.retryable);
        let started = fixture.clock.now();
        let result =
            fixture.run(waiting(fixture.submit_args()), RunOptions::default()).await.unwrap();
        assert!(result.is_ok());
        let waited = fixture.clock.now() - started;
        assert!((850.0..1200.0).contains(&waited), "{listed} {answer:?}: {waited}");
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_machine_is_reported_even_if_the_list_is_forbidden() {
    let fixture = Fixture::new();
    fixture
        .emulator
        .add_foreign_session("ws-0001", 900.0, true, ForeignSessionResponse::Error)
        .unwrap();
    let body = r#"{"error":{"code":"Forbidden","message":"no","target":"t"}}"#.to_owned();
    fixture.fault("machineactions", Fault { body, ..Fault::status(403) }, 1, 1000);
    let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
    assert_eq!(
        (error.kind, error.active_action_id.clone()),
        (Kind::MachineBusy, None),
        "{error:?}"
    );
    // The slot is free, but without the list the refusal does not prove that nothing was started.
    assert_eq!(fixture.count_held().await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_machine_with_our_own_session() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 100.0);
    let first = fixture.submit(fixture.submit_args()).await.unwrap();
    let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
    assert_eq!(
        (error.kind, error.active_action_id.as_deref()),
        (Kind::MachineBusy, Some(first.id.as_str()))
    );
    assert_eq!(
        fixture.request_count(Route::RunLiveResponse),
        1,
        "no request for a submit that the service would refuse"
    );
    let second = fixture.submit(waiting(fixture.submit_args())).await.unwrap();
    assert_ne!(first.id, second.id);
    assert!(first.refresh(0.0).await.unwrap().is_done());
    fixture.assert_no_violations();
    // A session that ended while nobody polled it does not block the machine.
    sleep(200.0).await;
    assert!(fixture.submit(fixture.submit_args()).await.is_ok());
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_timeout_in_the_queue_sends_nothing() {
    let limits = Limits { submit: vec![Rate { count: 1, per: 600.0 }], ..Limits::default() };
    let fixture = Fixture::new();
    let sessions = fixture.client_with(|options| options.limits = limits);
    within(HOUR, sessions.submit(fixture.submit_args(), None)).await.unwrap();
    for named in [None, Some("one".to_owned())] {
        let submit = SubmitRequest { correlation_id: named, ..fixture.submit_args_for(1) };
        let started = fixture.clock.now();
        let error = within(HOUR, sessions.submit(submit.clone(), Some(20.0))).await.unwrap_err();
        assert_eq!(
            (error.kind, error.action_id.clone(), error.retryable),
            (Kind::WaitTimeout, None, true)
        );
        assert!((fixture.clock.now() - started - 20.0).abs() < 1.0);
        let error = within(
            HOUR,
            sessions.run(submit, RunOptions { timeout: Some(5.0), ..RunOptions::default() }),
        )
        .await;
        assert_eq!(
            error.err().map(|error| (error.kind, error.action_id.clone())),
            Some((Kind::WaitTimeout, None))
        );
    }
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 1);
    assert_eq!(count_held(&sessions).await, (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_in_the_queue_after_a_lost_post_is_an_unknown_outcome() {
    let fixture = Fixture::new();
    fixture.fault("runliveresponse", Fault::status(500), 1, 1);
    fixture.fault("runliveresponse", Fault::status(429), 2, 1);
    let error =
        within(HOUR, fixture.sessions.submit(fixture.submit_args_with_id("one"), Some(125.0)))
            .await
            .unwrap_err();
    assert_eq!((error.kind, error.retryable), (Kind::SubmitUnknown, true), "{error:?}");
    let session = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    assert!(!session.adopted);
    assert_eq!(count_accepted(&fixture), 1);
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn the_timeout_ends_a_wait_for_the_list_limit() {
    let limits = Limits { read: vec![Rate { count: 1, per: 3600.0 }], ..Limits::default() };
    let fixture = Fixture::new();
    let sessions = fixture.client_with(|options| options.limits = limits);
    within(HOUR, sessions.find(&fixture.machine(0), "x")).await.unwrap();
    let error = within(60, sessions.submit(fixture.submit_args_with_id("one"), Some(10.0)))
        .await
        .unwrap_err();
    assert_eq!((error.kind, error.action_id.clone()), (Kind::WaitTimeout, None), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_the_wait_does_not_stop_the_session() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 300.0);
    let options = RunOptions { timeout: Some(30.0), ..RunOptions::default() };
    let started = fixture.clock.now();
    let error = fixture.run(fixture.submit_args_with_id("one"), options).await.unwrap_err();
    assert_eq!(error.kind, Kind::WaitTimeout);
    assert!((fixture.clock.now() - started - 30.0).abs() < 1.0);
    let session = fixture.sessions.session(error.action_id.as_deref().unwrap());
    assert_eq!(error.machine_id, Some(fixture.machine(0)));
    assert_eq!(error.correlation_id.as_deref(), Some("one"));
    assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok());
    // Waiting for a session that has ended takes no time.
    let started = fixture.clock.now();
    assert!(session.wait(Some(0.0), None, None).await.unwrap().is_done());
    assert!(fixture.clock.now() - started < 0.1);
}

#[tokio::test(start_paused = true)]
async fn repeated_short_waits_see_the_end() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 20.0);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    let waits = async { while session.wait(Some(0.5), None, None).await.is_err() {} };
    within(60, waits).await;
    assert!(max_calls_within(&fixture.request_times(Route::ListMachineActions), 60.0) <= 20);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_stays_offline_times_out() {
    let fixture = Fixture::new();
    fixture.emulator.add_machine(NewMachine::named("off.example.test").offline()).unwrap();
    let started = fixture.clock.now();
    let result = fixture.run(fixture.submit_args_for(3), RunOptions::default()).await.unwrap();
    assert_eq!((result.reason.as_str(), result.action.status.as_str()), ("timed_out", "TimeOut"));
    assert!((7200.0..7300.0).contains(&(fixture.clock.now() - started)));
    assert!(
        result.commands.iter().all(|command| command.error.is_none() && command.script.is_none())
    );
    // A session that is Pending for long is polled rarely.
    let lists = fixture.request_count(Route::ListMachineActions);
    assert!(lists < 400, "{lists}");
    fixture.assert_no_violations();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_stays_pending_is_cancelled() {
    for (fresh, cancel_fault) in [
        (0.0, None),
        (60.0, None),
        (0.0, Some(Fault::status(503))),
        (0.0, Some(fault(FaultKind::DropAfter))),
        (
            0.0,
            Some(Fault {
                body: r#"{"error":{"code":"BadRequest","message":"no"}}"#.into(),
                ..Fault::status(400)
            }),
        ),
    ] {
        let fixture = Fixture::with_switches(|switches| {
            (switches.fresh_404, switches.list_lag) = (fresh, fresh)
        });
        fixture.emulator.add_machine(NewMachine::named("off.example.test").offline()).unwrap();
        if let Some(fault) = cancel_fault.clone() {
            fixture.fault("cancel", fault, 1, 5);
        }
        let options = RunOptions { cancel_pending_after: Some(30.0), ..RunOptions::default() };
        let started = fixture.clock.now();
        let result = fixture.run(fixture.submit_args_for(3), options).await.unwrap();
        assert_eq!(
            (result.reason.as_str(), result.is_ok()),
            ("cancelled", false),
            "{fresh} {cancel_fault:?}"
        );
        assert!(
            (30.0..600.0).contains(&(fixture.clock.now() - started)),
            "{}",
            fixture.clock.now() - started
        );
        assert!(result.message.contains("cancel_pending_after"), "{}", result.message);
        fixture.assert_no_violations();
    }
    // A session that started in time is not cancelled.
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 100.0);
    let options = RunOptions { cancel_pending_after: Some(30.0), ..RunOptions::default() };
    assert!(fixture.run(fixture.submit_args(), options).await.unwrap().is_ok());
    assert_eq!(fixture.request_count(Route::CancelMachineAction), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_is_cancelled_on_request() {
    for status in [400, 409, 404] {
        let fixture = Fixture::with_switches(|switches| switches.cancel_ended_status = status);
        fixture.script("echo.ps1", 100.0);
        let session = fixture.submit(fixture.submit_args()).await.unwrap();
        assert_eq!(session.cancel(" ").await.unwrap_err().kind, Kind::InvalidRequest);
        within(HOUR, session.cancel("no longer needed")).await.unwrap();
        let result = within(HOUR, session.result(None, None)).await.unwrap();
        assert_eq!(result.reason, "cancelled", "{}", result.message);
        assert!(result.message.contains("no longer needed"));
        // A session that has ended is returned unchanged.
        let over = within(HOUR, session.cancel("again")).await.unwrap();
        assert_eq!((over.status.as_str(), over.is_done()), ("Cancelled", true), "{status}");
        assert!(fixture.submit(fixture.submit_args()).await.is_ok());
        let unknown = fixture.sessions.session("6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10");
        assert_eq!(within(HOUR, unknown.cancel("x")).await.unwrap_err().kind, Kind::NotFound);
        fixture.assert_no_violations();
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_not_listed_yet_is_cancelled() {
    let fixture =
        Fixture::with_switches(|switches| (switches.fresh_404, switches.list_lag) = (40.0, 40.0));
    fixture.script("echo.ps1", 300.0);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    within(HOUR, session.cancel("no longer needed")).await.unwrap();
    assert_eq!(within(HOUR, session.wait(None, None, None)).await.unwrap().status, "Cancelled");
}

/// A submit that looks for its own session says nothing about the slot of another submit, even if
/// that one has been waiting for its comment just as long.
#[tokio::test(start_paused = true)]
async fn a_submit_that_finds_nothing_frees_no_slot_of_another_submit() {
    let fixture = Fixture::with_switches(|switches| switches.comment_delay = 300.0);
    fixture.script("echo.ps1", 400.0);
    let invalid = Fault { code: Some("InvalidInput".to_owned()), ..Fault::status(400) };
    fixture.fault("runliveresponse", Fault::status(503), 1, 1);
    fixture.fault("runliveresponse", invalid, 1, 1);
    let request = |id| SubmitRequest {
        commands: vec![Command::run_script("echo.ps1", Some(id)).unwrap()],
        ..waiting(fixture.submit_args_with_id(id))
    };
    fixture.submit(request("refused")).await.unwrap_err();
    // The other submit needs longer than the settle time until it knows its session.
    fixture.fault("machineaction", Fault::delay(5.0), 1, 20);
    let again = async {
        sleep(1.0).await;
        fixture.submit(request("refused")).await
    };
    let (other, again) = tokio::join!(fixture.submit(request("other")), again);
    assert_ne!(other.unwrap().id, again.unwrap().id);
    fixture.assert_no_violations();
}
