//! Switches for a service that changes comments.

use std::time::Duration;

use mde_live_response::emulator::{CommentForm, Switches};
use serde_json::{Value, json};

use crate::emulator_support::{Service, run_script, with_switches};

const COMMENT: &str = "Why <b> & [mlr:00ff] é";

/// Returns the comment in the response to a submit, and then in a read and in a list.
async fn shown(service: &Service) -> [Value; 3] {
    let response = service.run(&service.machine(0), &json!([run_script("a.ps1")]), COMMENT).await;
    assert_eq!(response.status, 201);
    let first = response.json();
    let id = first["id"].as_str().unwrap();
    let read = service.action(id).await;
    let list = service.get("/api/machineactions").await.json();
    [&first, &read, &list["value"][0]].map(|action| action["requestorComment"].clone())
}

/// Each switch changes what every call shows, and not what was logged.
#[tokio::test(start_paused = true)]
async fn the_service_shows_another_comment() {
    type Change = fn(&mut Switches);
    let cases: [(Change, Value); 11] = [
        (|_| (), json!(COMMENT)),
        (|s| s.comment_limit = Some(5), json!("Why <")),
        (|s| s.comment_limit = Some(0), json!("")),
        (|s| s.comment_limit = Some(22), json!(COMMENT)),
        (|s| s.comment_suffix = " (by API)".into(), json!(format!("{COMMENT} (by API)"))),
        (|s| s.comment_form = CommentForm::Upper, json!("WHY <B> & [MLR:00FF] É")),
        (|s| s.comment_form = CommentForm::Lower, json!("why <b> & [mlr:00ff] é")),
        (
            |s| s.comment_form = CommentForm::Escape,
            json!("Why &#60;b&#62; &#38; &#91;mlr:00ff&#93; é"),
        ),
        (
            |s| s.comment_form = CommentForm::Percent,
            json!("Why%20%3Cb%3E%20%26%20%5Bmlr%3A00ff%5D%20%C3%A9"),
        ),
        (|s| s.comment_form = CommentForm::Null, Value::Null),
        (|s| s.comment_form = CommentForm::Empty, json!("")),
    ];
    for (change, expected) in cases {
        let service = with_switches(change);
        assert_eq!(shown(&service).await, [&expected; 3].map(Value::clone));
        let sent: Value = serde_json::from_slice(&service.emulator.requests()[0].body).unwrap();
        assert_eq!(sent["Comment"], COMMENT);
    }
}

/// The form comes first, then the cut, then the suffix.
#[tokio::test(start_paused = true)]
async fn changes_of_a_comment_combine() {
    let service = with_switches(|s| {
        s.comment_form = CommentForm::Escape;
        s.comment_limit = Some(6);
        s.comment_suffix = "...".into();
    });
    assert_eq!(shown(&service).await[0], "Why &#...");
}

/// A new action has no comment for a while.
#[tokio::test(start_paused = true)]
async fn a_comment_appears_late() {
    let service = with_switches(|s| s.comment_delay = 10.0);
    assert_eq!(shown(&service).await, [Value::Null, Value::Null, Value::Null]);
    tokio::time::sleep(Duration::from_secs(9)).await;
    let list = async || service.get("/api/machineactions").await.json()["value"][0].clone();
    assert_eq!(list().await["requestorComment"], Value::Null);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(list().await["requestorComment"], COMMENT);
    assert_eq!(list().await["machineId"], service.machine(0));
}
