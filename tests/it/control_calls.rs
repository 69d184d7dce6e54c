//! The control over HTTP, in process: what it sets, what it reads, and its errors.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use mde_live_response::emulator::{Behaviour, Emulator, ScriptOutcome};
use serde_json::{Value, json};

use crate::emulator_support::{Service, get_file, new_service, run_script, with_switches};

pub struct ControlResponse {
    pub status: StatusCode,
    pub allow: String,
    pub body: Value,
}

pub fn send(
    emulator: &Emulator,
    method: &str,
    path: &str,
    body: impl Into<Bytes>,
) -> ControlResponse {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let response = emulator.control(&request);
    let allow = response.headers().get("allow").map_or("", |value| value.to_str().unwrap());
    let body = serde_json::from_slice(response.body()).unwrap();
    ControlResponse { status: response.status(), allow: allow.to_owned(), body }
}

pub fn get(service: &Service, name: &str) -> Value {
    let response = send(&service.emulator, "GET", &format!("/__box/{name}"), "");
    assert_eq!(response.status, 200, "{name}: {}", response.body);
    response.body
}

pub fn post(service: &Service, name: &str, body: &Value) -> Value {
    let response = send(&service.emulator, "POST", &format!("/__box/{name}"), body.to_string());
    assert!(response.status.is_success(), "{name}: {}", response.body);
    response.body
}

#[tokio::test(start_paused = true)]
async fn a_session_with_what_was_set() {
    let service = new_service();
    post(
        &service,
        "scripts",
        &json!({"name": "a.ps1", "stdout": "found it", "stderr": "hm", "exit_code": 3, "duration": 5}),
    );
    let machine = json!({"name": "srv-01.example.test", "osPlatform": "Linux", "start_delay": 2});
    let machine = post(&service, "machines", &machine);
    let id = machine["id"].as_str().unwrap();
    assert_eq!(machine["entity"]["osPlatform"], "Linux");
    post(&service, "files", &json!({"machine": "srv-01", "path": "/tmp/a", "content": "text"}));
    let commands = json!([run_script("a.ps1"), get_file("/tmp/a")]);
    let action = service.run(id, &commands, "case 42").await.json()["id"].clone();
    assert_eq!(get(&service, "machines/srv-01")["session"], action);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(get(&service, "sessions")[0]["status"], "InProgress");
    tokio::time::sleep(Duration::from_secs(10)).await;
    let sessions = get(&service, "sessions");
    assert_eq!(sessions[0]["status"], "Succeeded");
    assert_eq!(sessions[0]["commands"][0]["command"]["params"][0]["value"], "a.ps1");
    let link = service.link(action.as_str().unwrap(), 0).await.json()["value"].clone();
    let transcript = service.blob(link.as_str().unwrap(), &[]).await.json();
    assert_eq!(transcript["exit_code"], 3);
    assert!(transcript["script_output"].as_str().unwrap().contains("found it"));
    assert_eq!(get(&service, "counters")["runliveresponse"], 1);
    assert_eq!(get(&service, "requests")[0]["route"], "runliveresponse");
    assert_eq!(get(&service, "requests?last=1")[0]["route"], "blob");
    assert_eq!(get(&service, "violations")["rate"], 0);
    // The control's own requests are in none of them.
    assert_eq!(get(&service, "requests").as_array().unwrap().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn every_section_takes_effect() {
    let service = new_service();
    let machine = service.machine(0);
    post(&service, "library", &json!({"name": "b.ps1", "content_base64": "AAE="}));
    let library = service.get("/api/libraryfiles").await.json();
    assert_eq!(library["value"][0]["fileName"], "b.ps1");
    post(
        &service,
        "faults",
        &json!({"path": "machines", "kind": "status", "code": "X", "status": 418}),
    );
    assert_eq!(service.get("/api/machines").await.status, 418);
    let id = post(&service, "foreign_sessions", &json!({"machine": "ws-0001", "seconds": 60}));
    assert_eq!(service.run(&machine, &json!([run_script("b.ps1")]), "c").await.status, 400);
    assert_eq!(get(&service, "sessions")[0]["id"], id["id"]);
    assert_eq!(get(&service, "sessions")[0]["foreign"], true);
    post(&service, "properties", &json!({"entity": "machines", "name": "osBuild", "value": "x"}));
    post(
        &service,
        "properties",
        &json!({"entity": "machines", "name": "version", "left_out": true}),
    );
    let shown = service.get(&format!("/api/machines/{machine}")).await.json();
    assert_eq!((&shown["osBuild"], shown.get("version")), (&json!("x"), None));
    post(&service, "switches", &json!({"accepted_status": 200}));
    post(&service, "switches", &json!({"quoted_link": true}));
    let switches = get(&service, "switches");
    assert_eq!(
        (&switches["accepted_status"], &switches["quoted_link"]),
        (&json!(200), &json!(true))
    );
    post(&service, "machines/ws-0002", &json!({"online": false, "healthStatus": "Inactive"}));
    let changed = get(&service, "machines/ws-0002.example.test");
    assert_eq!(
        (&changed["online"], &changed["entity"]["healthStatus"]),
        (&json!(false), &json!("Inactive"))
    );
    assert_eq!(get(&service, "machines").as_array().unwrap().len(), 3);
    let token = post(&service, "tokens", &json!({"roles": ["Machine.Read.All"]}));
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let path = format!("/api/machines/{machine}/runliveresponse");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    assert_eq!(service.call(http::Method::POST, &path, &headers, "{}").await.status, 403);
}

/// The clock of the emulator jumps, and what was due happens.
#[tokio::test(start_paused = true)]
async fn advance() {
    let service = new_service();
    post(&service, "machines/ws-0001", &json!({"online": false}));
    let id = service.submit(&service.machine(0), "a.ps1").await;
    post(&service, "advance", &json!({"seconds": 7201}));
    assert_eq!(service.action(&id).await["status"], "TimeOut");
}

#[tokio::test(start_paused = true)]
async fn a_reset() {
    let service = new_service();
    let emulator = &service.emulator;
    let (first, second) = (service.machine(0), service.machine(1));
    post(&service, "scripts", &json!({"name": "slow.ps1", "duration": 500}));
    post(&service, "files", &json!({"path": "/a", "content": "x"}));
    post(&service, "machines/ws-0002", &json!({"stuck": true, "online": false}));
    post(&service, "switches", &json!({"skipped_status": "Skipped"}));
    post(&service, "faults", &json!({"path": "machine", "kind": "status", "nth": 7}));
    let id = service.submit(&first, "slow.ps1").await;
    let shown = json!({"entity": id, "name": "title", "value": 1});
    post(&service, "properties", &shown);
    post(&service, "foreign_sessions", &json!({"machine": "ws-0003", "seconds": 1000}));
    tokio::time::sleep(Duration::from_secs(50)).await;
    for _ in 0..9 {
        assert_eq!(service.run(&first, &json!([run_script("slow.ps1")]), "c").await.status, 400);
    }
    assert_eq!(service.run(&first, &json!([run_script("slow.ps1")]), "c").await.status, 429);
    let token = service.token.clone();
    assert_eq!(send(emulator, "POST", "/__box/reset", "").status, 200);
    for name in ["sessions", "requests", "faults", "foreign_sessions", "properties"] {
        assert_eq!(get(&service, name), json!([]), "{name}");
    }
    assert_eq!(get(&service, "counters"), json!({}));
    let violations = get(&service, "violations");
    assert!(violations.as_object().unwrap().values().all(|count| *count == 0), "{violations}");
    assert_eq!(get(&service, "scripts").as_array().unwrap().len(), 1);
    assert_eq!(get(&service, "files").as_array().unwrap().len(), 1);
    assert_eq!(get(&service, "library").as_array().unwrap().len(), 1);
    assert_eq!(get(&service, "switches")["skipped_status"], "Skipped");
    let stuck = get(&service, "machines/ws-0002");
    assert_eq!((&stuck["stuck"], &stuck["online"]), (&json!(true), &json!(false)));
    // Machine, quota and token are free again, and the old session's end is forgotten.
    assert_eq!(
        (&emulator.token(), service.action(&id).await["error"]["code"].clone()),
        (&token, json!("ResourceNotFound"))
    );
    let again = service.submit(&first, "slow.ps1").await;
    assert_eq!(service.run(&second, &json!([run_script("slow.ps1")]), "c").await.status, 500);
    for (seconds, expected) in [(470, "InProgress"), (40, "Succeeded")] {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        assert_eq!(service.action(&again).await["status"], expected);
    }
}

/// What a session left on its machine is gone after a reset.
#[tokio::test(start_paused = true)]
async fn a_reset_frees_machines() {
    let service = with_switches(|switches| {
        switches.stuck_after_timeout = true;
        switches.busy_after_cancel = 1000.0;
    });
    post(&service, "machines/ws-0001", &json!({"online": false}));
    service.submit(&service.machine(0), "a.ps1").await;
    post(&service, "advance", &json!({"seconds": 7201}));
    assert_eq!(get(&service, "machines/ws-0001")["stuck"], true);
    let id = service.submit(&service.machine(1), "a.ps1").await;
    let cancel = format!("/api/machineactions/{id}/cancel");
    assert_eq!(service.post(&cancel, &json!({"Comment": "stop"})).await.status, 200);
    let commands = json!([run_script("a.ps1")]);
    assert_eq!(service.run(&service.machine(1), &commands, "c").await.status, 400);
    post(&service, "reset", &json!({}));
    service.submit(&service.machine(0), "a.ps1").await;
    service.submit(&service.machine(1), "a.ps1").await;
}

/// A script that is running at a reset ends no command of a later session.
#[tokio::test(start_paused = true)]
async fn a_script_across_a_reset() {
    let service = new_service();
    let emulator = service.emulator.clone();
    let script = move |_: &str, _: Option<&str>| {
        emulator.reset();
        let answer = Default::default();
        emulator.add_foreign_session("ws-0001", 1000.0, true, answer).unwrap();
        ScriptOutcome::default()
    };
    service.emulator.on_script("a.ps1", Behaviour::Callback(std::sync::Arc::new(script)));
    service.submit(&service.machine(0), "a.ps1").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(get(&service, "sessions")[0]["status"], "InProgress");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(get(&service, "sessions")[0]["status"], "InProgress");
}
