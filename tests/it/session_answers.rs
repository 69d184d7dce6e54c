//! Tests of single answers that a session must not trust, and of what its errors name.

use mde_live_response::emulator::{Fault, FaultKind, NewMachine, Route};
use mde_live_response::error::Kind;
use mde_live_response::session::{RunOptions, SubmitRequest, Tag};
use mde_live_response::transfer::Target;
use serde_json::json;

use crate::fleet_support::{all_outcomes, reasons_by_row, run_spec, start};
use crate::network::Outage;
use crate::support::{Fixture, HOUR, TempDir, count_accepted, fault, sleep, within};

fn not_found() -> Fault {
    Fault { code: Some("ResourceNotFound".to_owned()), ..Fault::status(404) }
}

#[tokio::test(start_paused = true)]
async fn a_404_that_passes_does_not_end_a_submit() {
    for times in [1, 2] {
        for acts in [false, true] {
            let fixture = Fixture::new();
            fixture.emulator.set_switches(|switches| switches.list_lag = 60.0);
            fixture.script("echo.ps1", 20.0);
            let refusal = Fault { acts, ..not_found() };
            fixture.fault("runliveresponse", refusal, 1, if acts { 1 } else { times });
            let result = fixture.run(fixture.submit_args(), RunOptions::default()).await.unwrap();
            assert!(result.is_ok(), "{}", result.message);
            assert_eq!(fixture.actions().await.len(), 1, "{times} {acts}");
            assert_eq!(fixture.emulator.violations().duplicate_submit, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_404_that_stays_ends_a_submit_with_that_error() {
    let fixture = Fixture::new();
    fixture.fault("runliveresponse", not_found(), 1, 100);
    let error = fixture.submit(fixture.submit_args()).await.unwrap_err();
    assert_eq!((error.kind, error.status), (Kind::NotFound, Some(404)));
    assert_eq!(error.code.as_deref(), Some("ResourceNotFound"));
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 3);
    // A machine that does not exist costs one POST.
    let fixture = Fixture::new();
    let request = SubmitRequest { machine_id: "0".repeat(40), ..fixture.submit_args() };
    let error = fixture.submit(request).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 1);
}

/// A gateway sends the POST twice, and the token expires between the copies.
#[tokio::test(start_paused = true)]
async fn a_401_to_a_second_copy_starts_nothing_twice() {
    for wait_if_busy in [false, true] {
        let fixture = Fixture::with_switches(|switches| switches.comment_limit = Some(0));
        fixture.script("echo.ps1", 20.0);
        let refused = Fault { acts: true, ..Fault::status(401) };
        fixture.fault("runliveresponse", refused, 1, 2);
        let request = SubmitRequest { wait_if_busy, ..fixture.submit_args_with_id("one") };
        let mut submitted = fixture.submit(request.clone()).await;
        if submitted.is_err() {
            sleep(30.0).await;
            submitted = fixture.submit(request).await;
        }
        assert!(within(HOUR, submitted.unwrap().result(None, None)).await.unwrap().is_ok());
        assert_eq!(fixture.actions().await.len(), 1);
        assert_eq!(fixture.emulator.violations().duplicate_submit, 0);
    }
}

/// The list shows the action of the refused POST, but not yet its comment and its commands.
#[tokio::test(start_paused = true)]
async fn after_a_429_an_action_that_is_not_filled_in_yet_is_read_again() {
    for (hides_comment, list_lag, filled_in, retry_after) in [
        (true, 0.0, 9.0, "1"),
        (false, 0.0, 9.0, "1"),
        (true, 20.0, 29.0, "23"),
        (true, 0.0, 55.0, "50"),
    ] {
        for with_id in [false, true] {
            let what = format!("{hides_comment} {list_lag} {filled_in} {retry_after} {with_id}");
            let fixture = Fixture::with_switches(|switches| {
                switches.null_first_comment = hides_comment;
                switches.null_first_body = filled_in;
                switches.list_lag = list_lag;
            });
            fixture.script("echo.ps1", 0.5);
            let mut refused = Fault { acts: true, ..Fault::status(429) };
            refused.headers.insert("Retry-After".to_owned(), retry_after.to_owned());
            fixture.fault("runliveresponse", refused, 1, 1);
            let request =
                if with_id { fixture.submit_args_with_id("one") } else { fixture.submit_args() };
            let session = fixture.submit(request).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
            assert!(within(HOUR, session.result(None, None)).await.unwrap().is_ok(), "{what}");
            assert_eq!(fixture.actions().await.len(), 1, "{what}");
            assert_eq!(fixture.request_count(Route::RunLiveResponse), 1, "{what}");
        }
    }
}

/// The last POST of the waiting submit acted, and its own session is what keeps the machine busy.
#[tokio::test(start_paused = true)]
async fn a_timeout_after_a_refused_post_does_not_say_that_nothing_was_started() {
    let fixture = Fixture::new();
    fixture.emulator.set_switches(|switches| switches.list_lag = 100.0);
    fixture.script("echo.ps1", 200.0);
    let busy = Fault {
        code: Some("ActiveRequestAlreadyExists".to_owned()),
        acts: true,
        ..Fault::status(400)
    };
    fixture.fault("runliveresponse", busy, 1, 1);
    let request = SubmitRequest { wait_if_busy: true, ..fixture.submit_args_with_id("one") };
    let error = within(HOUR, fixture.sessions.submit(request.clone(), Some(50.0))).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, Kind::WaitTimeout);
    assert!(!error.hint.as_ref().unwrap().contains("nothing was started"), "{error:?}");
    let session = fixture.submit(request).await.unwrap();
    assert!(session.adopted);
    assert_eq!(fixture.actions().await.len(), 1);
}

/// The first caller stops waiting while its POST is being settled, and calls again.
#[tokio::test(start_paused = true)]
async fn a_timeout_behind_a_call_with_the_same_id_does_not_say_that_nothing_was_started() {
    let fixture = Fixture::new();
    fixture.emulator.set_switches(|switches| switches.list_lag = 60.0);
    fixture.fault("runliveresponse", fault(FaultKind::DropAfter), 1, 1);
    let request = || fixture.submit_args_with_id("one");
    let stopped = std::time::Duration::from_secs(20);
    let first = tokio::time::timeout(stopped, fixture.sessions.submit(request(), None));
    assert!(first.await.is_err());
    let error = within(HOUR, fixture.sessions.submit(request(), Some(1.0))).await.unwrap_err();
    assert_eq!(error.kind, Kind::WaitTimeout);
    assert!(!error.hint.as_ref().unwrap().contains("nothing was started"), "{error:?}");
    assert!(fixture.submit(request()).await.unwrap().adopted);
    assert_eq!(fixture.actions().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_answered_with_another_action_returns_our_own() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 500.0);
    let other = fixture.submit(fixture.submit_args_for(1)).await.unwrap();
    let ours = fixture.submit(fixture.submit_args()).await.unwrap();
    let wrong = Fault { entity: Some(other.id.clone()), ..fault(FaultKind::WrongEntity) };
    fixture.fault("cancel", wrong, 1, 1);
    let action = within(HOUR, ours.cancel("stop")).await.unwrap();
    assert_eq!(action.id, ours.id);
    assert_eq!(within(HOUR, other.refresh(0.0)).await.unwrap().id, other.id);
}

/// The list shows a record with our tag and without an id: it must not pass for no record.
#[tokio::test(start_paused = true)]
async fn a_record_of_ours_without_an_id_stops_the_submit() {
    let fixture = Fixture::new();
    let (key, _) = fixture.sessions.pipeline.shared_quota().await.unwrap();
    let tag = Tag::new(&key, &fixture.machine(0), "one");
    let record = |comment: &str| json!({"value": [{"id": null, "requestorComment": comment}]});
    let list = |comment: &str| Fault { body: record(comment).to_string(), ..Fault::status(200) };
    fixture.fault("machineactions", list(&tag.add_to("case 42")), 1, 1);
    let error = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap_err();
    assert_eq!(error.kind, Kind::Service, "{error:?}");
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 0);
    // A stranger's record without an id disturbs nothing.
    fixture.fault("machineactions", list("case 43"), 1, 1);
    assert!(fixture.submit(fixture.submit_args_with_id("one")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_merged_records_for_one_machine() {
    let fixture = Fixture::new();
    let target = fixture.machine(0);
    let merged = NewMachine {
        properties: json!({"mergedIntoMachineId": target}).as_object().unwrap().clone(),
        ..NewMachine::named("ws-old.example.test")
    };
    let old = fixture.emulator.add_machine(merged).unwrap().id;
    let rows = vec![old, target.clone(), "ws-old".to_owned(), "ws-0001".to_owned()];
    let fleet = start(&fixture.sessions, run_spec(rows)).await;
    let outcomes = all_outcomes(&fleet).await;
    let mut reasons = reasons_by_row(&outcomes);
    reasons.sort();
    assert_eq!(reasons, ["duplicate", "duplicate", "duplicate", "ok"]);
    let ran = outcomes.iter().find(|outcome| outcome.is_ok()).unwrap();
    assert_eq!(ran.machine_id.as_deref(), Some(target.as_str()));
    assert_eq!(count_accepted(&fixture), 1);
}

#[tokio::test(start_paused = true)]
async fn errors_of_a_session_made_from_its_id_name_what_is_known() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 60.0);
    let started = fixture.submit(fixture.submit_args_with_id("case-7")).await.unwrap();
    let session = fixture.sibling_client().session(&started.id);
    assert_eq!((session.known_machine_id(), session.known_correlation_id()), (None, None));
    within(HOUR, session.refresh(0.0)).await.unwrap();
    assert_eq!(session.known_correlation_id().as_deref(), Some("case-7"));
    fixture.network.set_outage(Outage::Results);
    let result = within(HOUR, session.result(None, None)).await.unwrap();
    assert_eq!(result.correlation_id.as_deref(), Some("case-7"));
    assert!(result.tenant_id.is_some());
    let folder = TempDir::new();
    let download = within(HOUR, session.download(0, Target::Path(folder.0.join("a"))));
    for error in [result.commands[0].error.clone().unwrap(), download.await.unwrap_err()] {
        assert_eq!(error.action_id.as_deref(), Some(started.id.as_str()));
        assert_eq!(error.machine_id, Some(fixture.machine(0)));
        assert_eq!(error.correlation_id.as_deref(), Some("case-7"));
        assert!(error.tenant_id.is_some());
    }
}
