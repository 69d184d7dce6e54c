//! Faults, and repeatable runs from a seed.

use std::time::Duration;

use http::Method;
use mde_live_response::emulator::{
    EmulatorClock, Fault, FaultKind, RequestOutcome, Settings, Switches,
};
use mde_live_response::transport::Destination;
use serde_json::json;

use crate::emulator_support::{Service, new_service, run_script, with_settings};

async fn machines(
    service: &Service,
) -> Result<crate::emulator_support::ServiceResponse, mde_live_response::transport::Failure> {
    let bearer = format!("Bearer {}", service.token);
    let url = format!("{}/api/machines", service.emulator.url());
    service.send(Destination::Service, Method::GET, &url, &[("authorization", &bearer)], "").await
}

/// A fault sets status, body and headers of the n-th call and of the calls after it.
#[tokio::test(start_paused = true)]
async fn a_fault_replaces_the_response() {
    let service = new_service();
    let mut fault = Fault::status(502);
    fault.body = "<html>bad gateway</html>".into();
    fault.headers.insert("x-cache".into(), "miss".into());
    service.emulator.fault("GET", "/api/machines", fault, 2, 2).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let response = service.get("/api/machines").await;
        statuses.push(response.status);
        if response.status == 502 {
            assert_eq!(
                (&response.body[..], response.header("x-cache")),
                (&b"<html>bad gateway</html>"[..], "miss")
            );
        }
    }
    assert_eq!(statuses, [200, 502, 502, 200]);
}

/// A dropped connection: whether the request took effect, and whether a byte was sent.
#[tokio::test(start_paused = true)]
async fn dropped_connections() {
    for (kind, sent, created) in [
        (FaultKind::DropBefore, true, 0),
        (FaultKind::DropUnread, false, 0),
        (FaultKind::DropAfter, true, 1),
    ] {
        let service = new_service();
        service.emulator.fault("POST", "runliveresponse", Fault::new(kind), 1, 1).unwrap();
        let bearer = format!("Bearer {}", service.token);
        let url = format!(
            "{}/api/machines/{}/runliveresponse",
            service.emulator.url(),
            service.machine(0)
        );
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = json!({"Commands": [run_script("a.ps1")], "Comment": "c"}).to_string();
        let failure = service
            .send(Destination::Service, Method::POST, &url, &headers, body)
            .await
            .unwrap_err();
        assert_eq!(failure.sent, sent, "{kind:?}");
        assert_eq!(service.get("/api/machineactions").await.ids().len(), created, "{kind:?}");
        assert_eq!(service.emulator.requests()[0].status, RequestOutcome::Dropped);
    }
}

/// A truncated and a corrupted body.
#[tokio::test(start_paused = true)]
async fn truncated_and_corrupted_bodies() {
    let service = new_service();
    let whole = service.get("/api/machines").await.body;
    service.emulator.fault("*", "machines", Fault::new(FaultKind::Truncate), 1, 1).unwrap();
    assert!(machines(&service).await.is_err());
    service.emulator.fault("*", "machines", Fault::new(FaultKind::Garble), 1, 1).unwrap();
    let garbled = service.get("/api/machines").await.body;
    assert!(garbled.len() == whole.len() && garbled != whole);
    assert_eq!(service.get("/api/machines").await.body, whole);
}

/// A token that expires gets a 401 from that call on.
#[tokio::test(start_paused = true)]
async fn an_expired_token() {
    let service = new_service();
    service
        .emulator
        .fault("GET", "/api/machines", Fault::new(FaultKind::ExpireToken), 2, 1)
        .unwrap();
    let mut statuses = Vec::new();
    for path in ["/api/machines", "/api/machines", "/api/libraryfiles"] {
        statuses.push(service.get(path).await.status);
    }
    assert_eq!(statuses, [200, 401, 401]);
}

/// A delayed response; the log shows if the client disconnected meanwhile.
#[tokio::test(start_paused = true)]
async fn a_delayed_response() {
    let service = new_service();
    service.emulator.fault("GET", "machines", Fault::delay(5.0), 1, 2).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(service.get("/api/machines").await.status, 200);
    assert_eq!(start.elapsed().as_secs(), 5);
    let timed_out =
        tokio::time::timeout(Duration::from_secs(1), service.get("/api/machines")).await;
    assert!(timed_out.is_err());
    let log = service.emulator.requests();
    assert_eq!(
        (log[0].status, log[1].status),
        (RequestOutcome::Status(200), RequestOutcome::Closed)
    );
    assert_eq!(log[1].to_json()["status"], "closed");
}

/// Section 18: a 503 of a gateway may hide an action that was created.
#[tokio::test(start_paused = true)]
async fn an_error_after_the_action_was_created() {
    for (acts, created) in [(false, 0), (true, 1)] {
        let service = new_service();
        service
            .emulator
            .fault("POST", "runliveresponse", Fault { acts, ..Fault::status(503) }, 1, 1)
            .unwrap();
        let response = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
        assert_eq!((response.status, response.body.len()), (503, 0));
        assert_eq!(service.get("/api/machineactions").await.ids().len(), created);
        assert_eq!(service.emulator.requests()[0].status, RequestOutcome::Status(503));
    }
}

/// The error for an invalid fault names the valid values.
#[test]
fn invalid_faults_are_rejected() {
    let service = new_service();
    let add_fault = |method, path, nth, times| {
        service.emulator.fault(method, path, Fault::status(500), nth, times)
    };
    for (result, expected) in [
        (add_fault("GE T", "/x", 1, 1), "\"GE T\" is not an HTTP method"),
        (add_fault("GET", "/x", 0, 1), "nth is 0; the first call is 1"),
        (add_fault("GET", "/x", 1, 0), "times is 0; it must be 1 or more"),
        (add_fault("GET", "nowhere", 1, 1), "there is no route \"nowhere\""),
    ] {
        assert!(result.unwrap_err().message.contains(expected), "{expected}");
    }
    let wrong = Fault::new(FaultKind::WrongEntity);
    let error = service.emulator.fault("GET", "machines", wrong, 1, 1).unwrap_err();
    assert!(error.message.contains("these do: runliveresponse, machineaction, cancel, machine"));
    for (text, expected) in [
        (
            r#"{"kind": "explode"}"#,
            "fault detail kind is \"explode\"; it must be one of 'status', 'drop_before'",
        ),
        (r#"{"kind": 5}"#, "fault detail kind is 5; it must be one of 'status', 'drop_before'"),
        (
            r#"{"kind": "status", "x": 1}"#,
            "there is no fault detail \"x\"; valid names are acts, body, body_base64, code",
        ),
        (
            r#"{"kind": "status", "status": 99}"#,
            "fault detail status is 99; it must be an HTTP status, 200 to 599",
        ),
        (r#"{"kind": "status", "body": 5}"#, "fault detail body is 5; it must be a string"),
        (r#"{"kind": "status", "headers": {"a": 1}}"#, "it must be a mapping of names to strings"),
        (
            r#"{"kind": "delay", "seconds": -1}"#,
            "fault detail seconds is -1; it must be a number between 0 and",
        ),
        (
            r#"{"kind": "truncate", "keep": -1}"#,
            "fault detail keep is -1; it must be a number of bytes, 0 or more",
        ),
        (
            r#"{"kind": "delay", "status": 500}"#,
            "a fault of kind delay has no detail \"status\"; it has seconds, acts",
        ),
        (
            r#"{"kind": "garble", "keep": 5}"#,
            "a fault of kind garble has no detail \"keep\"; it has none",
        ),
        (
            r#"{"kind": "page", "seconds": 5}"#,
            "a fault of kind page has no detail \"seconds\"; it has status, body, body_base64",
        ),
        (r#"{"kind": "page", "body_base64": "?"}"#, "body_base64 is \"?\"; it must be base64"),
        (r#"{"kind": "status", "code": 5}"#, "fault detail code is 5; it must be a string"),
        ("[]", "expected a mapping of names to values"),
    ] {
        let error = Fault::from_json(text).unwrap_err();
        assert!(
            error.message.contains(expected) && !error.message.contains("line 1"),
            "{text}: {error}"
        );
    }
    let fault = Fault::from_json(r#"{"kind": "status", "status": 500, "body": "x", "acts": true}"#)
        .unwrap();
    assert_eq!(
        (fault.kind, fault.status, fault.body.as_str(), fault.acts),
        (FaultKind::Status, 500, "x", true)
    );
    assert_eq!(Fault::from_json(r#"{"kind": "truncate", "keep": 7}"#).unwrap().keep, Some(7));
}

async fn run_with_seed(seed: u64) -> Vec<String> {
    let clock = EmulatorClock { epoch: Some(1.7e9), ..EmulatorClock::default() };
    let switches = Switches { fault_rate: 0.3, ..Switches::default() };
    let service =
        with_settings(Settings { seed, clock, switches, machines: 5, ..Settings::default() });
    service.emulator.add_library_file("helper.exe", b"x");
    let put = json!([crate::emulator_support::put_file("helper.exe")]);
    let mut seen = vec![service.emulator.tenant_id()];
    for round in 0..40 {
        let response = if round % 4 == 0 {
            let bearer = format!("Bearer {}", service.token);
            let url = format!(
                "{}/api/machines/{}/runliveresponse",
                service.emulator.url(),
                service.machine(round / 4 % 5)
            );
            let headers =
                [("authorization", bearer.as_str()), ("content-type", "application/json")];
            let body = json!({"Commands": put, "Comment": "c"}).to_string();
            service.send(Destination::Service, Method::POST, &url, &headers, body).await
        } else {
            machines(&service).await
        };
        seen.push(match response {
            Ok(response) => format!("{} {:?}", response.status, response.body),
            Err(failure) => format!("{failure:?}"),
        });
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    seen
}

/// The same seed gives the same run, faults included; a different seed gives a different run.
#[tokio::test(start_paused = true)]
async fn a_seed_determines_a_run() {
    let mut all = Vec::new();
    for seed in 0..5 {
        let (one, two) = (run_with_seed(seed).await, run_with_seed(seed).await);
        assert_eq!(one, two);
        assert_ne!(one, run_with_seed(seed + 100).await);
        all.extend(one);
    }
    assert!(
        all.iter().any(|response| response.contains("broke"))
            && all.iter().any(|response| response.starts_with("503"))
    );
}
