//! Wrong bodies, paths and methods of the control over HTTP.

use serde_json::json;

use crate::control_calls::{get, send};
use crate::emulator_support::{Service, new_service};

/// Returns the message of a 400.
fn refused(service: &Service, name: &str, body: &str) -> String {
    let response = send(&service.emulator, "POST", &format!("/__box/{name}"), body.to_owned());
    assert_eq!(response.status, 400, "{name} {body}: {}", response.body);
    assert_eq!(response.body["error"]["code"], "InvalidRequest");
    response.body["error"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn mistakes_in_a_body() {
    let service = new_service();
    for (name, body, message) in [
        ("advance", "", "the body is not JSON"),
        ("advance", "[1]", "the body must be a JSON object"),
        ("advance", "{}", "advance needs seconds"),
        ("advance", r#"{"seconds": -1}"#, "advance seconds is -1; it must be a number between 0"),
        ("advance", r#"{"seconds": "1"}"#, "advance seconds is \"1\"; it must be a number"),
        ("reset", r#"{"all": true}"#, "reset has no key \"all\""),
        ("tokens", r#"{"roles": "x"}"#, "token roles is \"x\"; it must be a list of strings"),
        ("switches", r#"{"nope": 1}"#, "there is no switch \"nope\"; valid names are"),
        (
            "switches",
            r#"{"windows": "round"}"#,
            "switch windows is \"round\"; it must be 'sliding'",
        ),
        ("machines", "{}", "machine needs name"),
        ("machines", r#"{"name": ""}"#, "machine name is \"\"; it must be a text"),
        ("machines", r#"{"name": "a", "onlin": 1}"#, "machine has no key \"onlin\"; valid keys"),
        ("machines", r#"{"name": "a", "online": "yes"}"#, "machine online is \"yes\"; it must be"),
        ("machines", r#"{"name": "a", "id": "x"}"#, "machine property id is \"x\""),
        ("machines", r#"{"name": "a", "osBuild": "x"}"#, "machine property osBuild is \"x\""),
        ("machines", r#"{"name": "a", "start_delay": 1e10}"#, "machine start_delay is 1"),
        ("machines/ws-0001", r#"{"name": "b"}"#, "machine name is \"b\"; it must be omitted"),
        ("machines/ws-0001", r#"{"machineTags": 1}"#, "machine property machineTags is 1"),
        ("scripts", r#"{"name": "a b"}"#, "\"a b\" is not a valid name of a library file"),
        ("scripts", r#"{"name": "a", "exit_code": 1.5}"#, "script exit_code is 1.5"),
        ("scripts", r#"{"name": "a", "duration": null}"#, "script duration is null"),
        ("scripts", r#"{"name": "a", "stdout": ["x"]}"#, "script stdout is [\"x\"]"),
        ("files", r#"{"path": "/a"}"#, "file needs content or content_base64"),
        ("files", r#"{"path": "/a", "content": "", "content_base64": ""}"#, "file has only one"),
        ("files", r#"{"path": "/a", "content_base64": "%"}"#, "file content_base64 is \"%\""),
        // A config may name local files; a request may not.
        ("files", r#"{"path": "/a", "file": "/etc/passwd"}"#, "file has no key \"file\""),
        ("library", r#"{"name": "a", "file": "/etc/passwd"}"#, "library file has no key"),
        ("library", r#"{"name": "a", "sha256": "x"}"#, "library file sha256 is \"x\""),
        ("faults", r#"{"path": "machines"}"#, "fault needs kind"),
        ("faults", r#"{"path": "machinez", "kind": "status"}"#, "there is no route \"machinez\""),
        ("faults", r#"{"path": "machines", "kind": "x"}"#, "fault detail kind is \"x\""),
        ("faults", r#"{"path": "machines", "kind": "delay", "keep": 1}"#, "has no detail \"keep\""),
        ("faults", r#"{"path": "machines", "kind": "delay", "nth": 0}"#, "fault nth is 0"),
        ("foreign_sessions", r#"{"machine": "ws-0001"}"#, "foreign session needs seconds"),
        (
            "foreign_sessions",
            r#"{"machine": "ws-0001", "seconds": 1, "answer": "x"}"#,
            "foreign session answer is \"x\"; it must be 'error' or 'foreign'",
        ),
        ("properties", r#"{"entity": "machines", "name": "x"}"#, "property needs value"),
        ("certificates", "{}", "certificate needs content"),
    ] {
        let told = refused(&service, name, body);
        assert!(told.contains(message), "{name} {body}: {told}");
    }
    let long = json!({"name": "a", "online": "x".repeat(10_000)}).to_string();
    assert!(refused(&service, "machines", &long).len() < 400);
    // A wrong switch beside a right one changes nothing.
    refused(&service, "switches", r#"{"accepted_status": 200, "nope": 1}"#);
    assert_eq!(get(&service, "switches")["accepted_status"], 201);
}

#[tokio::test(start_paused = true)]
async fn wrong_paths_and_methods() {
    let service = new_service();
    let emulator = &service.emulator;
    for (method, path, status, allow) in [
        ("POST", "/__box/requests", 405, "GET, HEAD"),
        ("GET", "/__box/advance", 405, "POST"),
        ("DELETE", "/__box/machines", 405, "GET, HEAD, POST"),
        ("PUT", "/__box/switches", 405, "GET, HEAD, POST"),
        ("DELETE", "/__box/machines/ws-0001", 405, "GET, HEAD, POST"),
        ("OPTIONS", "/__box/reset", 405, "POST"),
        ("GET", "/__box/nope", 404, ""),
        ("GET", "/__box/machines/nobody", 404, ""),
        ("GET", "/__box/machines/a/b", 404, ""),
        ("GET", "/__box/Requests", 404, ""),
        ("GET", "/__box/requests?first=1", 400, ""),
        ("GET", "/__box/requests?last=-1", 400, ""),
    ] {
        let response = send(emulator, method, path, "{}");
        assert_eq!((response.status.as_u16(), response.allow.as_str()), (status, allow), "{path}");
        assert!(response.body["error"]["code"].is_string(), "{path}: {}", response.body);
    }
    let unknown = send(emulator, "POST", "/__box/machines/nobody", r#"{"online": 1}"#);
    assert_eq!(unknown.status, 404);
    let told = send(emulator, "GET", "/__box/nope", "").body.to_string();
    assert!(told.contains("requests") && told.contains("foreign_sessions"), "{told}");
    assert_eq!(send(emulator, "GET", "/__box/requests/", "").status, 200);
}
