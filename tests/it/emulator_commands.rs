//! The commands of a submit, and the ones that are rejected (docs/service.md, section 5.1).

use http::Method;
use serde_json::json;

use crate::emulator_support::{get_file, new_service, put_file, run_script, with_switches};

/// Section 5.1: a wrong order, type or parameter of a command is a 400.
#[tokio::test(start_paused = true)]
async fn invalid_commands_are_rejected() {
    let (put, run, get) = (put_file("a"), run_script("a.ps1"), get_file("/a"));
    for (commands, code) in [
        (json!([]), "InvalidRequestBody"),
        (json!([get, run]), "InvalidRequestBody"),
        (json!([run, put]), "InvalidRequestBody"),
        (json!([{"type": "RunPowerShell", "params": []}]), "InvalidRequestBody"),
        (
            json!([{"type": "RunScript", "params": [{"key": "Path", "value": "x"}]}]),
            "InvalidRequestBody",
        ),
        (
            json!([{"type": "GetFile", "params": [{"key": "Path", "value": "a"}, {"key": "Path", "value": "b"}]}]),
            "InvalidRequestBody",
        ),
        (
            json!([{"type": "RunScript", "params": [{"key": "Args", "value": "x"}]}]),
            "MissingRequiredParameter",
        ),
        (json!([{"type": "PutFile", "params": []}]), "MissingRequiredParameter"),
        (json!([{"params": []}]), "MissingRequiredParameter"),
        (json!("none"), "InvalidRequestBody"),
        (json!(null), "MissingRequiredParameter"),
    ] {
        let service = new_service();
        let response = service.run(&service.machine(0), &commands, "c").await;
        assert_eq!((response.status, response.code().as_str()), (400, code), "{commands}");
    }
    let service = new_service();
    let repeated = json!([put, put, run, run, get, get]);
    assert_eq!(service.run(&service.machine(0), &repeated, "c").await.status, 201);
    let path = format!("/api/machines/{}/runliveresponse", service.machine(1));
    let no_comment = service.post(&path, &json!({"Commands": [run]})).await;
    assert_eq!(no_comment.code(), "MissingRequiredParameter");
}

/// Sections 5.1 and 6.5: a body that is not an object, or has lists in place of objects, is a 400
/// whose message names no type of this implementation.
#[tokio::test(start_paused = true)]
async fn bodies_must_be_objects() {
    for sensitive in [true, false] {
        let service = with_switches(|s| s.case_sensitive_bodies = sensitive);
        let id = service.submit(&service.machine(1), "a.ps1").await;
        let run = format!("/api/machines/{}/runliveresponse", service.machine(0));
        let cancel = format!("/api/machineactions/{id}/cancel");
        let command_as_list = json!(["RunScript", [{"key": "ScriptName", "value": "a.ps1"}]]);
        let as_lists = json!({"Commands": [command_as_list], "Comment": "c"});
        let params_as_lists = json!({"type": "RunScript", "params": [["ScriptName", "a.ps1"]]});
        let params = json!({"Commands": [params_as_lists], "Comment": "c"});
        let in_order =
            json!([[{"type": "RunScript", "params": []}], "c", null, null, null]).to_string();
        for (path, body) in [
            (&run, "[]".to_owned()),
            (&run, in_order),
            (&run, "5".to_owned()),
            (&run, "null".to_owned()),
            (&run, String::new()),
            (&run, "{".to_owned()),
            (&run, as_lists.to_string()),
            (&run, params.to_string()),
            (&cancel, "[]".to_owned()),
            (&cancel, json!(["c", null, null, null]).to_string()),
        ] {
            let response = service
                .call(Method::POST, path, &[("content-type", "application/json")], body.clone())
                .await;
            assert_eq!(
                (response.status, response.code().as_str()),
                (400, "InvalidRequestBody"),
                "{body}"
            );
            let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.starts_with("Request body is incorrect: "), "{message}");
            assert!(
                !["struct", "Body", "Wire", "tuple"].iter().any(|word| message.contains(word)),
                "{message}"
            );
        }
    }
}
