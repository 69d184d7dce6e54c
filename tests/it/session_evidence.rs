//! Tests that a submit runs once even if the service changes comments, refuses after acting, or
//! answers about something else.

use mde_live_response::emulator::{BusyResponse, CommentForm, Fault, FaultKind, Route, Switches};
use mde_live_response::error::Kind;
use mde_live_response::session::{RunOptions, SubmitRequest};
use serde_json::json;

use crate::support::{Fixture, HOUR, fault, sleep, within};

type Change = fn(&mut Switches);

/// Every way in which a service may change what it shows of a comment.
const COMMENT_CHANGES: [(&str, Change); 11] = [
    ("cut to nothing", |switches| switches.comment_limit = Some(0)),
    ("cut in the tag", |switches| switches.comment_limit = Some(12)),
    ("suffix", |switches| switches.comment_suffix = " (by policy)".to_owned()),
    ("escaped", |switches| switches.comment_form = CommentForm::Escape),
    ("percent", |switches| switches.comment_form = CommentForm::Percent),
    ("upper", |switches| switches.comment_form = CommentForm::Upper),
    ("lower", |switches| switches.comment_form = CommentForm::Lower),
    ("null", |switches| switches.comment_form = CommentForm::Null),
    ("empty", |switches| switches.comment_form = CommentForm::Empty),
    ("late", |switches| switches.comment_delay = 40.0),
    ("later than the settle time", |switches| switches.comment_delay = 400.0),
];

fn waiting(request: SubmitRequest) -> SubmitRequest {
    SubmitRequest { wait_if_busy: true, ..request }
}

#[tokio::test(start_paused = true)]
async fn a_changed_comment_starts_one_action_and_brings_its_result() {
    for (name, change) in COMMENT_CHANGES {
        for (on_post, lag) in [
            (None, 0.0),
            (None, 45.0),
            (Some(fault(FaultKind::DropAfter)), 0.0),
            (Some(fault(FaultKind::DropAfter)), 45.0),
            (Some(Fault { acts: true, ..Fault::status(503) }), 0.0),
        ] {
            let what = format!("{name}, {on_post:?}, lag {lag}");
            let fixture = Fixture::with_switches(change);
            fixture.emulator.set_switches(|switches| switches.list_lag = lag);
            if let Some(fault) = on_post {
                fixture.fault("runliveresponse", fault, 1, 1);
            }
            let result = fixture
                .run(waiting(fixture.submit_args()), RunOptions::default())
                .await
                .unwrap_or_else(|error| panic!("{what}: {error:?}"));
            assert!(result.is_ok(), "{what}: {}", result.message);
            assert_eq!(fixture.actions().await.len(), 1, "{what}");
            assert_eq!(fixture.emulator.violations().duplicate_submit, 0, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_id_is_adopted_even_if_comments_are_hidden() {
    let fixture = Fixture::with_switches(|switches| switches.comment_form = CommentForm::Null);
    fixture.script("echo.ps1", 5.0);
    fixture.fault("runliveresponse", fault(FaultKind::DropAfter), 1, 1);
    let first = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    let again = fixture.submit(fixture.submit_args_with_id("one")).await.unwrap();
    assert_eq!((again.id, again.adopted), (first.id, true));
    assert_eq!(fixture.request_count(Route::RunLiveResponse), 1);
}

/// An action of someone else with the very same commands is not taken for ours, whether the service
/// answers the submit with it or refuses.
#[tokio::test(start_paused = true)]
async fn an_older_action_with_the_same_commands_stays_foreign() {
    for answer in [BusyResponse::Error, BusyResponse::Foreign] {
        for with_id in [false, true] {
            let fixture = Fixture::with_switches(|switches| {
                switches.comment_form = CommentForm::Null;
                switches.busy_answer = answer;
            });
            // Longer than the stranger needs to learn that comments are hidden.
            fixture.script("echo.ps1", 500.0);
            let stranger = fixture.unrelated_client();
            let foreign = stranger.submit(fixture.submit_args(), None).await.unwrap();
            sleep(30.0).await;
            let request =
                if with_id { fixture.submit_args_with_id("ours") } else { fixture.submit_args() };
            let error = fixture.submit(request.clone()).await.unwrap_err();
            assert_eq!(error.kind, Kind::MachineBusy, "{answer:?}: {error:?}");
            assert_eq!(error.active_action_id.as_deref(), Some(foreign.id.as_str()), "{answer:?}");
            let result = fixture.run(waiting(request), RunOptions::default()).await.unwrap();
            assert!(result.is_ok() && result.action.id != foreign.id, "{answer:?}");
            assert_eq!(fixture.actions().await.len(), 2, "{answer:?}");
        }
    }
}

/// A second call with the id finds a posted intent, and has not heard from the service yet.
#[tokio::test(start_paused = true)]
async fn a_later_call_takes_no_older_action_for_that_of_the_first_call() {
    let fixture = Fixture::with_switches(|switches| switches.comment_form = CommentForm::Null);
    fixture.script("echo.ps1", 10.0);
    let stranger = fixture.unrelated_client();
    let foreign = stranger.submit(fixture.submit_args(), None).await.unwrap();
    within(HOUR, foreign.wait(None, None, None)).await.unwrap();
    fixture.fault("runliveresponse", fault(FaultKind::DropBefore), 1, 1);
    fixture.fault("machineactions", Fault::status(404), 2, 1);
    let request = fixture.submit_args_with_id("ours");
    let error = fixture.submit(request.clone()).await.unwrap_err();
    assert_eq!(error.kind, Kind::SubmitUnknown, "{error:?}");
    let session = within(HOUR, fixture.sibling_client().submit(request, None)).await.unwrap();
    assert_ne!(session.id, foreign.id);
    assert_eq!(fixture.actions().await.len(), 2);
}

/// Statuses that may answer the second copy of a POST whose first copy was accepted.
fn refusals_that_acted() -> Vec<Fault> {
    let acted = |status| Fault { acts: true, ..Fault::status(status) };
    let coded = |status, code: &str| Fault { code: Some(code.to_owned()), ..acted(status) };
    let mut with_retry_after = acted(429);
    with_retry_after.headers.insert("Retry-After".to_owned(), "7".to_owned());
    vec![
        with_retry_after,
        acted(429),
        coded(400, "ActiveRequestAlreadyExists"),
        coded(404, "ResourceNotFound"),
        acted(404),
        acted(409),
        acted(302),
        acted(499),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_acted_is_never_followed_by_a_second_action() {
    for refusal in refusals_that_acted() {
        for lag in [0.0, 60.0] {
            for hidden in [CommentForm::Keep, CommentForm::Null] {
                let what = format!("{} {:?}, lag {lag}, {hidden:?}", refusal.status, refusal.code);
                let fixture = Fixture::with_switches(|switches| {
                    switches.list_lag = lag;
                    switches.comment_form = hidden;
                });
                fixture.script("echo.ps1", 20.0);
                fixture.fault("runliveresponse", refusal.clone(), 1, 1);
                let request = waiting(fixture.submit_args_with_id("one"));
                // The caller may get an error, but the same id must find what was started.
                let mut submitted = fixture.submit(request.clone()).await;
                if submitted.is_err() {
                    submitted = fixture.submit(request).await;
                }
                let session = submitted.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                let result = within(HOUR, session.result(None, None)).await.unwrap();
                assert!(result.is_ok(), "{what}: {}", result.message);
                assert_eq!(fixture.actions().await.len(), 1, "{what}");
                assert_eq!(fixture.emulator.violations().duplicate_submit, 0, "{what}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_about_another_machine_is_not_ours() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 20.0);
    let other = fixture.submit_args_for(1);
    let other = fixture.unrelated_client().submit(other, None).await.unwrap();
    fixture.fault("runliveresponse", fault(FaultKind::WrongEntity), 1, 1);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    assert_ne!(session.id, other.id);
    assert_eq!(session.action().unwrap().machine_id, Some(fixture.machine(0)));
    assert_eq!(fixture.actions().await.len(), 2);
}

/// Another machine's session does not keep this machine busy.
#[tokio::test(start_paused = true)]
async fn a_response_about_another_machine_does_not_say_that_this_one_is_busy() {
    let fixture = Fixture::new();
    fixture.script("echo.ps1", 2000.0);
    let other = fixture.submit_args_for(1);
    let other = fixture.unrelated_client().submit(other, None).await.unwrap();
    let body = json!({
        "id": other.id,
        "type": "LiveResponse",
        "status": "InProgress",
        "machineId": fixture.machine(1),
        "requestorComment": "case of another",
        "creationDateTimeUtc": "2026-01-01T00:00:00Z",
    });
    let body = body.to_string();
    fixture.fault("runliveresponse", Fault { body, ..Fault::status(201) }, 1, 1);
    let session = fixture.submit(fixture.submit_args()).await.unwrap();
    assert_eq!(session.action().unwrap().machine_id, Some(fixture.machine(0)));
    assert_eq!(fixture.actions().await.len(), 2);
}

/// A service that answers each submit with a different foreign action is not asked without end.
#[tokio::test(start_paused = true)]
async fn foreign_responses_are_followed_by_few_posts() {
    for (status, posts, kind) in
        [("InProgress", 4, Kind::MachineBusy), ("Succeeded", 2, Kind::Service)]
    {
        let fixture = Fixture::new();
        for nth in 1..=50 {
            let params = json!([{"key": "ScriptName", "value": "other.ps1"}]);
            let action = json!({
                "id": uuid::Uuid::new_v4().to_string(),
                "status": status,
                "machineId": fixture.machine(0),
                "requestorComment": "case of another",
                "creationDateTimeUtc": "2026-01-01T00:00:00Z",
                "commands": [{"index": 0, "command": {"type": "RunScript", "params": params}}],
            });
            let foreign = Fault { body: action.to_string(), ..Fault::status(201) };
            fixture.fault("runliveresponse", foreign, nth, 1);
        }
        let error = fixture.submit(waiting(fixture.submit_args())).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert_eq!(fixture.request_count(Route::RunLiveResponse), posts, "{status}");
        assert_eq!(fixture.actions().await.len(), 0);
    }
}

/// An action that has ended keeps no machine busy, so it does not prove that a POST started nothing.
#[tokio::test(start_paused = true)]
async fn a_response_with_an_ended_action_proves_nothing() {
    let forms = [CommentForm::Keep, CommentForm::Null];
    for (form, wait_if_busy) in forms.into_iter().flat_map(|form| [(form, false), (form, true)]) {
        let fixture = Fixture::with_switches(|switches| {
            switches.comment_form = form;
            switches.list_lag = 30.0;
        });
        fixture.script("echo.ps1", 10.0);
        let stranger = fixture.unrelated_client();
        let ended = stranger.submit(fixture.submit_args(), None).await.unwrap();
        within(HOUR, ended.wait(None, None, None)).await.unwrap();
        let wrong = Fault { entity: Some(ended.id.clone()), ..fault(FaultKind::WrongEntity) };
        fixture.fault("runliveresponse", wrong, 1, 1);
        let request = SubmitRequest { wait_if_busy, ..fixture.submit_args() };
        let session = fixture.submit(request).await.unwrap();
        assert_ne!(session.id, ended.id, "{form:?} {wait_if_busy}");
        assert_eq!(fixture.actions().await.len(), 2, "{form:?} {wait_if_busy}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_comment_keeps_its_tag_if_the_service_cuts_it() {
    let fixture = Fixture::with_switches(|switches| switches.comment_limit = Some(256));
    let request = SubmitRequest { comment: "why ".repeat(500), ..fixture.submit_args() };
    fixture.fault("runliveresponse", fault(FaultKind::DropAfter), 1, 1);
    let session = fixture.submit(request).await.unwrap();
    let comment = session.action().unwrap().requestor_comment.unwrap();
    assert!(comment.starts_with("[mlr:"), "{comment}");
    assert_eq!(fixture.actions().await.len(), 1);
}
