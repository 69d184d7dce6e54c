//! The request log, counters and violations.

use std::time::Duration;

use mde_live_response::config::Limits;
use mde_live_response::emulator::{
    Fault, RequestOutcome, ScriptOutcome, Settings, Switches, Violations,
};
use serde_json::json;

use crate::emulator_support::{new_service, run_script, with_settings};

/// The log has every part of a request except the token and the secret.
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

/// A result link is a secret: the log redacts its signature in every request.
#[tokio::test(start_paused = true)]
async fn the_log_redacts_signatures() {
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

/// Counters count calls by route, and polls by action.
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

/// Each kind of violation counts separately.
#[tokio::test(start_paused = true)]
async fn violations_count_separately() {
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
    assert_eq!(
        run(2, "three [mlr:dddd]").await,
        201,
        "the tag of a rejected submit may be used again"
    );
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

/// A feed has each call that ended since it was last read, once. Without a reader, there is none.
#[tokio::test(start_paused = true)]
async fn the_feed_of_calls() {
    let service = new_service();
    service.get("/api/machines").await;
    assert!(service.emulator.take_calls().0.is_empty(), "nobody asked for it");
    service.emulator.follow_calls();
    service.submit(&service.machine(0), "a.ps1").await;
    let fault = Fault::status(503);
    service.emulator.fault("GET", "machines", fault, 1, 1).unwrap();
    service.get("/api/machines?$top=1").await;
    service.run(&service.machine(0), &json!([run_script("a.ps1")]), "c").await;
    let (calls, missed) = service.emulator.take_calls();
    let json = serde_json::to_value(&calls).unwrap();
    let shown: Vec<_> = ["status", "machine", "fault", "broken"]
        .map(|name| [&json[0][name], &json[1][name], &json[2][name]])
        .to_vec();
    let machine = json!("ws-0001.example.test");
    assert_eq!(shown[0], [&json!(201), &json!(503), &json!(400)]);
    assert_eq!(shown[1], [&machine, &json!(null), &machine]);
    assert_eq!(shown[2], [&json!(null), &json!("status"), &json!(null)]);
    assert_eq!(shown[3], [&json!([]), &json!([]), &json!(["machine_busy"])]);
    assert_eq!((json[1]["path"].clone(), missed), (json!("/api/machines?$top=1"), 0));
    assert!(service.emulator.take_calls().0.is_empty(), "each call is taken once");
    service.emulator.clear_log();
    for _ in 0..10_003 {
        service.get("/api/x").await;
    }
    let (calls, missed) = service.emulator.take_calls();
    assert_eq!((calls.len(), missed), (10_000, 3));
    service.emulator.set_switches(|s| s.log_size = 0);
    service.get("/api/machines").await;
    assert!(service.emulator.take_calls().0.is_empty(), "the log keeps no call");
}
