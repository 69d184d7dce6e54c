//! Machine actions: their properties, command states, lists and cancellation (docs/service.md,
//! section 6).

use std::time::Duration;

use mde_live_response::emulator::ScriptOutcome;
use serde_json::json;

use crate::emulator_support::{new_service, run_script};

async fn sleep(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn script_lasting(duration: f64) -> ScriptOutcome {
    ScriptOutcome { duration, ..ScriptOutcome::default() }
}

/// Section 6.1: the entity has the captured properties in the captured order.
#[tokio::test(start_paused = true)]
async fn properties_of_an_action() {
    let service = new_service();
    let response = service.run(&service.machine(0), &json!([run_script("a.ps1")]), "case 42").await;
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    let order = [
        "@odata.context",
        "id",
        "type",
        "title",
        "requestor",
        "requestorComment",
        "status",
        "machineId",
        "computerDnsName",
        "creationDateTimeUtc",
        "lastUpdateDateTimeUtc",
        "cancellationRequestor",
        "cancellationComment",
        "cancellationDateTimeUtc",
        "errorHResult",
        "scope",
        "externalId",
        "requestSource",
        "relatedFileInfo",
        "commands",
        "troubleshootInfo",
    ];
    let places: Vec<_> =
        order.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!(response.json().as_object().unwrap().len(), order.len());
    let action: mde_live_response::model::MachineAction =
        mde_live_response::model::decode_entity(&response.body).unwrap();
    assert_eq!(action.requestor_comment.as_deref(), Some("case 42"));
}

/// Section 6.2: a command passes through its states in order.
#[tokio::test(start_paused = true)]
async fn states_of_a_command() {
    let service = new_service();
    service.emulator.on_script("a.ps1", script_lasting(1.0));
    let id = service.submit(&service.machine(0), "a.ps1").await;
    let mut seen: Vec<(String, String)> = Vec::new();
    for _ in 0..90 {
        let action = service.action(&id).await;
        let command = &action["commands"][0];
        let now = (
            action["status"].as_str().unwrap().to_owned(),
            command["commandStatus"].as_str().unwrap().to_owned(),
        );
        assert_eq!(
            command["startTime"].is_null(),
            !matches!(now.1.as_str(), "Executing" | "Completed")
        );
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        sleep(0.02).await;
    }
    let words: Vec<_> =
        seen.iter().map(|(action, command)| format!("{action}/{command}")).collect();
    assert_eq!(
        words,
        [
            "Pending/Created",
            "InProgress/Submitted",
            "InProgress/PendingResource",
            "InProgress/Executing",
            "Succeeded/Completed",
        ]
    );
}

/// Section 6.3: GET takes the id in any case; an unknown id is a 404, and one that is not a GUID a
/// 400.
#[tokio::test(start_paused = true)]
async fn an_action_is_found_by_id() {
    let service = new_service();
    let id = service.submit(&service.machine(0), "a.ps1").await;
    for given in [id.clone(), id.to_uppercase()] {
        let response = service.get(&format!("/api/machineactions/{given}")).await;
        assert_eq!((response.status, &response.json()["id"]), (200, &json!(id)));
        assert!(
            response.json()["@odata.context"]
                .as_str()
                .unwrap()
                .ends_with("$metadata#MachineActions/$entity")
        );
    }
    let unknown = service.get("/api/machineactions/6b1d2c1e-93a4-4c1b-8f0e-0d5a5b6f7a10").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "ResourceNotFound"));
    for wrong in ["X", &id.replace('-', ""), &format!("{{{id}}}")] {
        let response = service.get(&format!("/api/machineactions/{wrong}")).await;
        assert_eq!((response.status, response.code().as_str()), (400, "BadRequest"), "{wrong}");
    }
}

/// Section 6.4: a list shows the commands of live response actions, newest first by default.
#[tokio::test(start_paused = true)]
async fn lists_show_commands() {
    let service = new_service();
    let first = service.submit(&service.machine(0), "a.ps1").await;
    let second = service.submit(&service.machine(1), "a.ps1").await;
    let list = service.get("/api/machineactions").await;
    assert_eq!(list.ids(), [second.clone(), first.clone()]);
    assert_eq!(list.json()["value"][0]["commands"][0]["command"]["type"], "RunScript");
    assert!(list.json()["value"][0].get("@odata.context").is_none());
    service
        .emulator
        .set_switches(|s| s.list_order = mde_live_response::emulator::ListOrder::Oldest);
    assert_eq!(service.get("/api/machineactions").await.ids(), [first, second]);
}

/// Section 6.5: cancel needs a comment. A pending action ends at once, a running one a little
/// later, and an action that has ended is a 400.
#[tokio::test(start_paused = true)]
async fn cancellation_by_status() {
    let service = new_service();
    service.emulator.on_script("a.ps1", script_lasting(60.0));
    service.emulator.set_online("ws-0001", false).unwrap();
    let comment = json!({"Comment": "no longer needed"});
    let pending = service.submit(&service.machine(0), "a.ps1").await;
    let running = service.submit(&service.machine(1), "a.ps1").await;
    sleep(5.0).await;
    let path = |id: &str| format!("/api/machineactions/{id}/cancel");
    assert_eq!(service.post(&path(&pending), &json!({})).await.code(), "MissingRequiredParameter");
    assert_eq!(
        service.post(&path(&pending), &json!({"comment": "x"})).await.code(),
        "InvalidRequestBody"
    );
    let response = service.post(&path(&pending), &comment).await.json();
    assert_eq!((&response["id"], &response["status"]), (&json!(pending), &json!("Cancelled")));
    assert_eq!(response["cancellationComment"], "no longer needed");
    let response = service.post(&path(&running), &comment).await.json();
    assert_eq!(response["status"], "InProgress");
    assert!(response["cancellationDateTimeUtc"].is_string());
    sleep(2.0).await;
    assert_eq!(service.action(&running).await["status"], "Cancelled");
    let late = service.post(&path(&running), &comment).await;
    assert_eq!((late.status, late.code().as_str()), (400, "InvalidInput"));
    service.submit(&service.machine(1), "a.ps1").await;
}

/// Section 6.5: a running action may succeed before its cancellation takes effect.
#[tokio::test(start_paused = true)]
async fn an_action_may_succeed_before_its_cancellation() {
    let service = new_service();
    service.emulator.on_script("a.ps1", script_lasting(2.0));
    let id = service.submit(&service.machine(0), "a.ps1").await;
    sleep(2.0).await;
    let response =
        service.post(&format!("/api/machineactions/{id}/cancel"), &json!({"Comment": "c"})).await;
    assert_eq!(response.status, 200);
    sleep(5.0).await;
    assert_eq!(service.action(&id).await["status"], "Succeeded");
}
