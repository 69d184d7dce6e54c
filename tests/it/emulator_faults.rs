//! Faults, the request log, counters and violations; and that the same seed gives the same run.

use std::time::Duration;

use http::Method;
use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    EmulatorClock, Fault, FaultKind, RequestOutcome, ScriptOutcome, Settings, Switches, Violations,
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

/// Any status, body and header; the n-th call and so many after it.
#[tokio::test(start_paused = true)]
async fn a_made_up_answer() {
    let service = new_service();
    let mut fault = Fault::status(502);
    fault.body = "<html>bad gateway</html>".into();
    fault.headers.insert("x-cache".into(), "miss".into());
    service.emulator.fault("GET", "/api/machines", fault, 2, 2).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = service.get("/api/machines").await;
        statuses.push(answer.status);
        if answer.status == 502 {
            assert_eq!(
                (&answer.body[..], answer.header("x-cache")),
                (&b"<html>bad gateway</html>"[..], "miss")
            );
        }
    }
    assert_eq!(statuses, [200, 502, 502, 200]);
}

/// A connection that dies before, unread or after: what was acted on, and whether a byte was sent.
#[tokio::test(start_paused = true)]
async fn dropped_connections() {
    for (kind, sent, acted) in [
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
        assert_eq!(service.get("/api/machineactions").await.ids().len(), acted, "{kind:?}");
        assert_eq!(service.emulator.requests()[0].status, RequestOutcome::Dropped);
    }
}

/// A body cut short or garbled.
#[tokio::test(start_paused = true)]
async fn spoiled_bodies() {
    let service = new_service();
    let whole = service.get("/api/machines").await.body;
    service.emulator.fault("*", "machines", Fault::new(FaultKind::Truncate), 1, 1).unwrap();
    assert!(machines(&service).await.is_err());
    service.emulator.fault("*", "machines", Fault::new(FaultKind::Garble), 1, 1).unwrap();
    let garbled = service.get("/api/machines").await.body;
    assert!(garbled.len() == whole.len() && garbled != whole);
    assert_eq!(service.get("/api/machines").await.body, whole);
}

/// A token that expires is a 401 from that call on.
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

/// A late answer; a client that leaves meanwhile is seen as a closed connection.
#[tokio::test(start_paused = true)]
async fn a_late_answer() {
    let service = new_service();
    service.emulator.fault("GET", "machines", Fault::delay(5.0), 1, 2).unwrap();
    let start = tokio::time::Instant::now();
    assert_eq!(service.get("/api/machines").await.status, 200);
    assert_eq!(start.elapsed().as_secs(), 5);
    let left = tokio::time::timeout(Duration::from_secs(1), service.get("/api/machines")).await;
    assert!(left.is_err());
    let log = service.emulator.requests();
    assert_eq!(
        (log[0].status, log[1].status),
        (RequestOutcome::Status(200), RequestOutcome::Closed)
    );
    assert_eq!(log[1].to_json()["status"], "closed");
}

/// Section 18: a gateway's 503 may hide an action that was created.
#[tokio::test(start_paused = true)]
async fn a_status_after_the_act() {
    for (acts, created) in [(false, 0), (true, 1)] {
        let service = new_service();
        service
            .emulator
            .fault("POST", "runliveresponse", Fault { acts, ..Fault::status(503) }, 1, 1)
            .unwrap();
        let answer = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
        assert_eq!((answer.status, answer.body.len()), (503, 0));
        assert_eq!(service.get("/api/machineactions").await.ids().len(), created);
        assert_eq!(service.emulator.requests()[0].status, RequestOutcome::Status(503));
    }
}

/// Faults that cannot be are refused, in words that say what can.
#[test]
fn wrong_faults() {
    let service = new_service();
    let lay = |method, path, nth, times| {
        service.emulator.fault(method, path, Fault::status(500), nth, times)
    };
    for (laid, told) in [
        (lay("GE T", "/x", 1, 1), "\"GE T\" is not an HTTP method"),
        (lay("GET", "/x", 0, 1), "nth is 0; the first call is 1"),
        (lay("GET", "/x", 1, 0), "times is 0; it has to be 1 or more"),
        (lay("GET", "nowhere", 1, 1), "there is no route \"nowhere\""),
    ] {
        assert!(laid.unwrap_err().message.contains(told), "{told}");
    }
    for (text, told) in [
        (
            r#"{"kind": "explode"}"#,
            "fault detail kind is \"explode\"; it has to be one of 'status', 'drop_before'",
        ),
        (r#"{"kind": 5}"#, "fault detail kind is 5; it has to be one of 'status', 'drop_before'"),
        (
            r#"{"kind": "status", "x": 1}"#,
            "there is no fault detail \"x\"; there are acts, body, headers, keep, kind",
        ),
        (
            r#"{"kind": "status", "status": 99}"#,
            "fault detail status is 99; it has to be an HTTP status, 200 to 599",
        ),
        (r#"{"kind": "status", "body": 5}"#, "fault detail body is 5; it has to be a text"),
        (r#"{"kind": "status", "headers": {"a": 1}}"#, "it has to be names with their texts"),
        (
            r#"{"kind": "delay", "seconds": -1}"#,
            "fault detail seconds is -1; it has to be a number between 0 and",
        ),
        (
            r#"{"kind": "truncate", "keep": -1}"#,
            "fault detail keep is -1; it has to be a number of bytes, 0 or more",
        ),
        (
            r#"{"kind": "delay", "status": 500}"#,
            "a fault of kind delay has no detail \"status\"; it has seconds",
        ),
        (
            r#"{"kind": "garble", "keep": 5}"#,
            "a fault of kind garble has no detail \"keep\"; it has none",
        ),
        ("[]", "names with their values are wanted"),
    ] {
        let error = Fault::from_json(text).unwrap_err();
        assert!(
            error.message.contains(told) && !error.message.contains("line 1"),
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

/// The log has all but the token and the secret.
#[tokio::test(start_paused = true)]
async fn the_request_log() {
    let service = new_service();
    service.run(&service.machine(0), &json!([run_script("a.ps1")]), "case 42").await;
    let secret = service.emulator.client_secret();
    service.token_request("/t/oauth2/v2.0/token", &[("client_secret", &secret)]).await;
    let log = service.emulator.requests();
    let entry = log[0].to_json();
    assert_eq!(
        (&entry["method"], &entry["route"], &entry["status"]),
        (&json!("POST"), &json!("runliveresponse"), &json!(201))
    );
    assert!(entry["path"].as_str().unwrap().ends_with("/runliveresponse"));
    let body: serde_json::Value = serde_json::from_str(entry["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&body["Comment"], &entry["headers"]["content-type"]),
        (&json!("case 42"), &json!("application/json"))
    );
    let text = format!("{log:?}");
    assert!(!text.contains(&secret) && !text.contains(&service.token));
    let small = with_settings(Settings {
        switches: Switches { log_size: 2, ..Switches::default() },
        ..Settings::default()
    });
    for _ in 0..5 {
        small.get("/api/machines").await;
    }
    let kept = small.emulator.requests();
    assert_eq!((kept.len(), kept[1].status), (2, RequestOutcome::Status(200)));
}

/// A result's link is a secret: its signature is not in the log, whoever sends it where.
#[tokio::test(start_paused = true)]
async fn the_log_keeps_no_signature() {
    let service = new_service();
    service.emulator.on_script("a.ps1", ScriptOutcome::default());
    let id = service.submit(&service.machine(0), "a.ps1").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let link = service.link(&id, 0).await.json()["value"].as_str().unwrap().to_owned();
    let signature = link.split("sig=").nth(1).unwrap().to_owned();
    assert_eq!(service.blob(&link, &[]).await.status, 200);
    service.get(&format!("/api/machines?SIG={signature}&x=1")).await;
    let log = service.emulator.requests();
    let queries: Vec<_> = log.iter().map(|entry| entry.query.as_str()).collect();
    assert!(
        queries.iter().any(|query| query.starts_with("se=") && query.ends_with("&sig=redacted")),
        "{queries:?}"
    );
    assert!(queries.contains(&"SIG=redacted&x=1"));
    assert!(
        !format!("{log:?}").contains(&signature)
            && !log.iter().any(|e| e.to_json().to_string().contains(&signature))
    );
}

/// Calls by route, looks at a session by its id.
#[tokio::test(start_paused = true)]
async fn counters() {
    let service = new_service();
    let id = service.submit(&service.machine(0), "a.ps1").await;
    service.action(&id).await;
    service.get(&format!("/api/machineactions?$filter=id+in+('{id}')")).await;
    service.get("/api/machineactions").await;
    let counters = service.emulator.counters();
    assert_eq!(
        (counters["runliveresponse"], counters["machineaction"], counters["machineactions"]),
        (1, 1, 2)
    );
    assert_eq!(counters[&format!("polls:{id}")], 2);
    service.emulator.clear_log();
    assert!(service.emulator.counters().is_empty() && service.emulator.requests().is_empty());
}

/// Each violation counts what it says, and nothing else.
#[tokio::test(start_paused = true)]
async fn each_violation_counts() {
    let limits = Limits { sessions: 2, ..Limits::default() };
    let service = with_settings(Settings { limits, machines: 30, ..Settings::default() });
    service
        .emulator
        .on_script("a.ps1", ScriptOutcome { duration: 30.0, ..ScriptOutcome::default() });
    let commands = json!([run_script("a.ps1")]);
    let run = async |at: usize, comment: &str| {
        service.run(&service.machine(at), &commands, comment).await.status
    };
    let mut expected = Violations::default();
    assert_eq!(run(0, "one [mlr:aaaa]").await, 201);
    assert_eq!(service.emulator.violations(), expected);
    assert_eq!(run(0, "two [mlr:bbbb]").await, 400);
    expected.machine_busy = 1;
    assert_eq!(service.emulator.violations(), expected);
    assert_eq!(run(1, "quoted [mlr:aaaa] [mlr:cccc]").await, 201);
    assert_eq!(run(2, "three [mlr:dddd]").await, 429);
    expected.sessions = 1;
    assert_eq!(service.emulator.violations(), expected);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(run(2, "three [mlr:dddd]").await, 201, "a refused submit's tag may come again");
    assert_eq!(service.emulator.violations(), expected);
    assert_eq!(run(3, "other words [mlr:aaaa]").await, 201);
    expected.duplicate_submit = 1;
    assert_eq!(service.emulator.violations(), expected);
    let token = format!("Bearer {}", service.token);
    let blob = format!("{}/x", service.emulator.blob_url());
    service.blob(&blob, &[]).await;
    service.blob(&blob, &[("authorization", &token)]).await;
    expected.bearer_at_blob = 1;
    assert_eq!(service.emulator.violations(), expected);
    for at in 4..12 {
        run(at, "c").await;
    }
    assert!(service.emulator.violations().sessions > 1);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = service.emulator.violations().rate;
    for _ in 0..101 {
        service.get("/api/libraryfiles").await;
    }
    assert_eq!(service.emulator.violations().rate, before + 1);
}

async fn a_run(seed: u64) -> Vec<String> {
    let clock = EmulatorClock { epoch: Some(1.7e9), ..EmulatorClock::default() };
    let switches = Switches { fault_rate: 0.3, ..Switches::default() };
    let service =
        with_settings(Settings { seed, clock, switches, machines: 5, ..Settings::default() });
    service.emulator.add_library_file("helper.exe", b"x");
    let put = json!([crate::emulator_support::put_file("helper.exe")]);
    let mut seen = vec![service.emulator.tenant_id()];
    for round in 0..40 {
        let answer = if round % 4 == 0 {
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
        seen.push(match answer {
            Ok(answer) => format!("{} {:?}", answer.status, answer.body),
            Err(failure) => format!("{failure:?}"),
        });
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    seen
}

/// The same seed gives the same run, faults included; another gives another.
#[tokio::test(start_paused = true)]
async fn a_seed_is_a_run() {
    let mut all = Vec::new();
    for seed in 0..5 {
        let (one, two) = (a_run(seed).await, a_run(seed).await);
        assert_eq!(one, two);
        assert_ne!(one, a_run(seed + 100).await);
        all.extend(one);
    }
    assert!(
        all.iter().any(|answer| answer.contains("broke"))
            && all.iter().any(|answer| answer.starts_with("503"))
    );
}
