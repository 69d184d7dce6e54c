//! The violation `duplicate_submit`: work that a client submits again without need.

use std::time::Duration;

use http::Method;
use mde_live_response::emulator::{CommentForm, Fault, FaultKind, Switches};
use mde_live_response::transport::Destination;
use serde_json::{Value, json};

use crate::emulator_support::{Service, get_file, new_service, run_script, with_switches};

/// Submits to the first machine, whatever comes of it, and waits until the machine is free.
async fn submit(service: &Service, commands: &Value, comment: &str) {
    let bearer = format!("Bearer {}", service.token);
    let machine = service.machine(0);
    let url = format!("{}/api/machines/{machine}/runliveresponse", service.emulator.url());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = json!({"Commands": commands, "Comment": comment}).to_string();
    let _ = service.send(Destination::Service, Method::POST, &url, &headers, body).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
}

async fn duplicates_after(fault: Option<Fault>, change: fn(&mut Switches)) -> u64 {
    let service = with_switches(change);
    if let Some(fault) = fault {
        service.emulator.fault("POST", "runliveresponse", fault, 1, 1).unwrap();
    }
    let commands = json!([run_script("a.ps1")]);
    submit(&service, &commands, "case 42").await;
    submit(&service, &json!([run_script("b.ps1")]), "case 42").await;
    submit(&service, &commands, "case 42, again").await;
    service.emulator.violations().duplicate_submit
}

/// A response that did not reach the client as it was: whatever the comments, a second action with
/// the same work is a duplicate.
type Change = fn(&mut Switches);

#[tokio::test(start_paused = true)]
async fn a_submit_after_a_lost_or_changed_response() {
    let acting = |fault: Fault| Fault { acts: true, ..fault };
    for fault in [
        Fault::new(FaultKind::DropAfter),
        Fault::new(FaultKind::Truncate),
        Fault::new(FaultKind::Garble),
        Fault::new(FaultKind::WrongEntity),
        acting(Fault::status(302)),
        acting(Fault::status(429)),
        acting(Fault::status(201)),
        acting(Fault::new(FaultKind::Page)),
        // The client leaves before the response.
        acting(Fault::delay(200.0)),
    ] {
        let name = format!("{fault:?}");
        assert_eq!(duplicates_after(Some(fault), |_| ()).await, 1, "{name}");
    }
}

/// Neither is a run that had no effect, nor one that is only late.
#[tokio::test(start_paused = true)]
async fn a_submit_after_one_that_did_not_act() {
    for fault in [
        Fault::new(FaultKind::DropBefore),
        Fault::new(FaultKind::DropUnread),
        Fault::new(FaultKind::Page),
        Fault::status(429),
        Fault::delay(5.0),
        Fault { acts: true, ..Fault::delay(5.0) },
    ] {
        let name = format!("{fault:?}");
        assert_eq!(duplicates_after(Some(fault), |_| ()).await, 0, "{name}");
    }
    assert_eq!(duplicates_after(None, |_| ()).await, 0);
}

/// What ended before it began on the machine did not run, so it may be submitted again.
#[tokio::test(start_paused = true)]
async fn a_submit_after_an_action_that_never_began() {
    let service = new_service();
    let commands = json!([run_script("a.ps1")]);
    service.emulator.set_online("ws-0001", false).unwrap();
    let fault = Fault::new(FaultKind::DropAfter);
    service.emulator.fault("POST", "runliveresponse", fault, 1, 1).unwrap();
    submit(&service, &commands, "one").await;
    let id = service.get("/api/machineactions").await.ids().remove(0);
    let cancel = format!("/api/machineactions/{id}/cancel");
    assert_eq!(service.post(&cancel, &json!({"Comment": "stop"})).await.status, 200);
    submit(&service, &commands, "two").await;
    assert_eq!(service.get("/api/machineactions").await.ids().len(), 2);
    assert_eq!(service.emulator.violations().duplicate_submit, 0);
}

/// A changed comment is a changed response, and one that a switch leaves as it is is not.
#[tokio::test(start_paused = true)]
async fn a_submit_after_a_changed_comment() {
    let changes: [(Change, u64); 6] = [
        (|s| s.comment_form = CommentForm::Upper, 1),
        (|s| s.comment_form = CommentForm::Null, 1),
        (|s| s.comment_limit = Some(4), 1),
        (|s| s.comment_suffix = ".".into(), 1),
        (|s| s.comment_delay = 1.0, 1),
        (|s| s.comment_limit = Some(40), 0),
    ];
    for (at, (change, expected)) in changes.into_iter().enumerate() {
        assert_eq!(duplicates_after(None, change).await, expected, "change {at}");
    }
}

/// The same comment with a tag is a duplicate, for the same application, machine and commands.
#[tokio::test(start_paused = true)]
async fn the_same_comment_with_a_tag() {
    let service = new_service();
    let commands = json!([run_script("a.ps1"), get_file("C:\\a.txt")]);
    for (comment, expected) in [
        ("case 42 [client 1f]", 0),
        ("case 42 [client 2f]", 0),
        ("case 42", 0),
        ("case 42", 0),
        ("case 42 [client 1f]", 1),
        ("[3f] case 42", 1),
        ("[3f] case 42", 2),
        ("case [3f] 42", 2),
        ("case [3f] 42", 2),
    ] {
        submit(&service, &commands, comment).await;
        assert_eq!(service.emulator.violations().duplicate_submit, expected, "{comment}");
    }
    submit(&service, &json!([run_script("a.ps1")]), "[3f] case 42").await;
    assert_eq!(service.run(&service.machine(1), &commands, "[3f] case 42").await.status, 201);
    assert_eq!(service.emulator.violations().duplicate_submit, 2);
    service.emulator.clear_log();
    submit(&service, &commands, "[3f] case 42").await;
    assert_eq!(service.emulator.violations().duplicate_submit, 0);
}
